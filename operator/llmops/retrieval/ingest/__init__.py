"""The index Job's side, `llmops index`: one generation built and measured; the alias moves if every gate passed.

    build.py      the story: look, make what changed, measure it, decide
    making.py     a generation while it is made: read, cut, taken over, embedded, written, checked
    read.py       what the sources have today: places/ lists and reads them, parse.py makes documents of the bytes
    language.py   which language a document is in, or that nobody can tell
    chunk.py      documents -> passages with stable identities, cut by the embedding model's own tokens
    spool.py      passages and vectors on the pod's scratch disk, so that memory stays bounded
    embed.py      texts -> vectors, batches that adapt to what the service takes
    ask.py        asks a generation as the query server will, for the labelled questions
    exact.py      exact search over a sample, in one pass
    latency.py    how long searches take, so many at a time
    scores.py     best scores, and how far they lie from those of the served generation
    measure.py    all that the gates ask for
    report.py     progress, outcome and failure into the Job's one ConfigMap
    main.py       the process

Killed anywhere it can be started again: a generation counts only once it is marked complete, and before that every
passage was found in it once, with its text; the alias moves in one call. What an earlier try left half-built is gone on
with where its content is still what is wanted, and removed where it is not.
"""
