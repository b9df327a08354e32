"""The query server of one index, `llmops retrieve`: a text in, the passages nearest to it out.

    live.py   follows the alias: which collection, embedder and search parameters are served now, flipped together
    app.py    POST /search, /poor, /healthz, /readyz, /metrics; raw ASGI
    query.py  what is asked for, checked
    passages.py  GET /passages: a page of what is served
    permissions.py   who may see which passage
    widen.py  a filtered search that comes short looks at more
    poor.py   questions that found nothing good, for people to read
    drain.py  its end, in which no question is lost
    main.py   the process

It keeps answering from the last generation it knows while the operator and the API server are away. It refuses (503,
with the reason) when the embedding service no longer puts sentences where the passages' embedder put them: the
distances would mean nothing, and nobody would notice.
"""
