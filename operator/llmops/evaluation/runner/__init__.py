"""The Job's side of an EvalJob: asks every row through Inspect, marks the answers, leaves the summary behind.

    main.py       the story: read the run, check the rows, ask, summarise, report; and the exit status
    door.py       Inspect's model provider: an unmodified OpenAI client towards the gateway, with bounded patience
    task.py       Inspect's task: rows -> samples, how a row is asked, how its answer is marked
    marks.py      a row's answer -> its marks (exact_match, includes, f1, rouge_l, bleu); pure
    summary.py    Inspect's logs -> results.Results, with bootstrap quantiles for means and BLEU
    report.py     where progress and results are written: the run's ConfigMap, or a folder

Asking, retries, concurrency, logs and resuming are Inspect's. A run whose log folder survives (spec.keep puts it on a
volume) continues after a kill where it was, up to the rows not yet flushed; without, a new pod asks again.
"""
