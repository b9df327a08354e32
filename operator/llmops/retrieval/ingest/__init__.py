"""The index Job's side, `llmops index`: one generation built and measured; the alias moves if every gate passed.

    read.py       the mounted sources -> documents, checked against the digests that the work was made of
    chunk.py      documents -> passages with stable identities, cut by the embedding model's own tokens
    store.py      the vector database as a Job needs it: generations, their properties, the alias
    measure.py    recall against exact search, recall on labelled questions, latency
    report.py     progress, outcome and failure into the Job's one ConfigMap
    main.py       the story

Killed anywhere it can be started again: a generation counts only once it is marked complete, the alias moves in one
call, and what an earlier try left half-built is removed.
"""
