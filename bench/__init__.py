"""First figures against docs/targets, each a line of JSON with the ratio to its peer in the same run.

Nothing here judges: a noisy machine makes a timed test lie, a ratio measured in one run much less so.
"""
