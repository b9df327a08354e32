"""Where documents come from, as the index Job sees it: a listing with a version, and each file's bytes when asked for.

    listing.py      what all of them give
    mounted.py      a ConfigMap, or a volume's files
    page.py         a file on the web, by its ETag
    bucket.py       objects in a bucket (ListObjectsV2), by their ETags
    repository.py   files in a git repository, by the commit
    ssh.py          git over ssh: a command on the other side, of a host that is known

Equal versions of a source promise equal bytes, so a source that has not changed is listed and not read. A listing that
is not complete says so: then nothing that was there before is taken away.
"""

from collections.abc import Callable
from pathlib import Path

from llmops.retrieval.ingest.places import bucket, mounted, page, repository
from llmops.retrieval.ingest.places.listing import File, Listing
from llmops.retrieval.work import SourceWork

Look = Callable[[SourceWork, Path, Path], Listing]
"""(source, what is mounted for it, its credentials) -> what is there. Wrong and Passing as in llmops.web."""

LOOK: dict[str, Look] = {
    "": mounted.config_map, "pvc": mounted.volume, "http": page.look, "s3": bucket.look, "git": repository.look,
}  # fmt: skip

__all__ = ["LOOK", "File", "Listing", "Look"]
