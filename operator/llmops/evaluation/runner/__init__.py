"""The Job's side of an EvalJob: asks every row through Inspect, marks the answers, leaves the summary behind.

    main.py       the story: read the run, check the rows, ask, summarise, report; and the exit status
    data.py       the run's rows, handed over or behind an address; told before the first question
    reading.py    a source's bytes: a claim's, the web's, a bucket's. traffic.py: what users asked
    door.py       Inspect's model provider: an unmodified OpenAI client towards the gateway, with bounded patience
    asking.py     the requests themselves: a chat, a stream, a text's probability, how near two texts are
    ask.py        tasks through Inspect, resumed from their logs, and what became of their samples
    task.py       Inspect's task for an arm: rows -> samples, how a row is asked, how its answer is marked
    marks.py      a row's answer -> its marks; pure. corpus.py: BLEU, chrF and TER, which add up before they are scored
    panel.py      what other models say of the answers, after all of them are there; seats.py: their Inspect tasks
    scoring.py    the container that runs people's own scorers; custom.py: their marks, over its socket
    pairwise.py   two answers before a judge; pure. kappa.py, echo.py, labels.py, columns.py: its like
    summary.py    answers with their marks -> results.Results. draws.py: the bootstrap; groups.py: paired groups
    drift.py      how far traffic has moved since a version was first looked at; purse.py: what may still be spent
    benchmark.py  lm-evaluation-harness (harness.py), in an image of its own, and what came of it
    worst.py      the few rows that went worst, both answers side by side; pure. table_out.py: all rows, beside the log
    report.py     where progress and results are written: the run's ConfigMap, or a folder

Asking, retries, concurrency, logs and resuming are Inspect's. A run whose log folder survives (spec.keep puts it on a
volume) continues after a kill where it was, up to the rows not yet flushed; without, a new pod asks again.
"""
