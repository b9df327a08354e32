"""An engine's volume, before its engine opens it: `python -m llmops.retrieval.volume`, the first container of its pod.

An older engine may not read what a newer one wrote. So what an image wrote is copied before another image opens it, and
when that image comes back, its copy does too. The engine's Deployment is replaced by Recreate: while this runs, nothing
writes.

    opened.py     the story: which image opened the data last, which is to open them now, and what that takes
    backup.py     the copy of what an image wrote: made, checked, found
    restore.py    the copy put in place of the data, by renames; cut off anywhere, it is gone on with
    files.py      files that are there after a power cut, or not at all

On the volume, beside the engine's own files, in .llmops:

    opened.json            the image that the data are open to, and the last restore
    backups/<image>-<n>    data and backup.json, which is written last: without it, it is none
    copying                a backup that was not finished: removed
    restoring.json         a restore that was begun: gone on with, before anything else
    aside                  what is replaced by a restore: removed when that is done

Half of anything is never opened: the engine starts only when this container ends well, and it does so only when the
data are those of one image. Only the standard library is imported here, and through `llmops` it would be far more: each
start of an engine waits for this.
"""

REFUSED = 4
"""Exit status: a person has to write something; trying again does not help."""
