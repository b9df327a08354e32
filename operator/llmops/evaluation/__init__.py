"""EvalJob: a dataset through a target, scored; a verdict with its interval, and never the same run twice.

    observe.py    the EvalJob, its rows, what its target is made of right now, and the run's children
    rows.py       a dataset's text -> rows, or the numbers of the rows that are wrong and why; table.py for CSV; pure
    source.py     where the Job reads rows that the operator cannot: a claim, the web, a bucket, what users asked
    run.py        what one Job has to do, as a value; its key is a digest of everything that could change the result
    plan.py       observation -> wait, run (Job, ConfigMaps, service account), or done; pure
    children.py   those as functions that read like the YAML; sidecar.py: where people's own scorers run
    measures.py   what each metric is: how it adds up, which way is better, what it reads; pure
    forms.py      whether an answer has a form: a regular expression, a JSON Schema; pure
    results.py    what a run leaves behind: small enough for a ConfigMap, enough to judge any threshold from
    intervals.py  Wilson and Tango, for any confidence, without a statistics library in the operator
    verdict.py    summary + thresholds -> Pass, Fail, Inconclusive or Error; pure
    holm.py       which of several failures are more than chance; pure
    status.py     observation + plan + verdict -> conditions and status; trend.py for a schedule's last results; pure
    runner/       the Job's side: Inspect asks, retries, resumes and logs; our scorers; the summary

An EvalJob without a target is a template: releases fill it in. With one, it runs at once, and again when target,
baseline, dataset or metrics change, and at the times of its schedule; a changed threshold is only judged anew, from the
stored summary. The verdict stands apart from the phase: a run can succeed and its verdict be Fail. Errors are never
counted as wrong answers: above two rows in a hundred the verdict is Error, never Pass; the same holds
of answers that a judge could not mark.

To run the same key again on purpose, delete its result: `kubectl delete configmap <name>-eval-<key10>`.
"""
