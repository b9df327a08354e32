"""Pages that a person can send to a colleague: one file, nothing from the network, everything escaped.

page.py          the frame, its style, and small drawings: an interval, a bar on the way to its threshold
evaluation.py    an EvalJob: verdict, thresholds, metrics with intervals; several of them as a matrix
rollout.py       a release or a model's rollout: what happened when, and what speaks for and against
report.py        `llmops report`: what the cluster has -> the page
"""
