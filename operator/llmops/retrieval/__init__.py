"""VectorIndex: documents in, a measured, queryable alias out.

    observe.py    the index, its sources' contents, its embedder, and what the Jobs reported
    sources.py    the spec's sources as the Job is handed them
    referred.py   the ConfigMaps and labelled questions that it refers to
    services.py   the LLMServices that it asks: embedder and reranker
    abroad.py     embedding through somebody else's API
    work.py       what one Job has to do, as a value; its digests tell which change costs what
    plan.py       observation -> the cheapest safe action, children, where the index stands; pure
    run.py        one Job that was begun: what it was handed, what it reported, how it ended
    left.py       what Jobs left: what of it is kept, and whether the alias is still where it is remembered to be; pure
    estimate.py   what embedding costs, before it is begun
    outcome.py    what a Job leaves behind: the generation, what was measured, what its gates said
    gates.py      measurements + gates -> passed or not, in words; pure
    status.py     observation + plan -> conditions and status; pure
    replicas.py   several query servers: apart from one another, how many may be away, how many are ready; pure
    children.py   the query server and the Job; engines/ the vector database, one file an engine
    passage.py    what is embedded, stored, found and cited
    rank.py       a question's passages: by nearness, by words.py, by fusion.py of both, by reranker.py; for both sides
    widen.py      a filtered search that comes short looks at more; for both sides
    ingest/       the Job's side: read, chunk, embed, write, measure, and only then move the alias
    server/       the query server: POST /search

Changes of a ConfigMap reach the operator by themselves. What stands behind another address (a claim, the web, a bucket,
a repository) only the Job sees, at the times of spec.refresh.schedule: it asks for each source's version first, and
reads and builds only if one has changed.

Nothing but ingest/ and server/ talks to the vector database. The alias in it is the one point of commitment: the Job
moves it as its last step, when every gate has passed; the query servers look at it every second and flip collection,
embedder and search parameters together, since all three stand in the collection's own properties. So queries never
see a generation that is being built, and a lost status loses nothing: the Job finds what is there by its digest.

Questions and passages are embedded straight at the embedding service's own Service in this namespace, not through
the door: an index then needs no key, costs no second hop a question, and goes on while the gateways are replaced.
Only somebody else's API (spec.external) is asked through the door, which alone has its credential: abroad.py.
"""
