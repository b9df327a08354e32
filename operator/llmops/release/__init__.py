"""PromptRelease: a content goes in, users get it once it is shown to be no worse; or it is remembered as rejected.

    observe.py     the release, its Revisions, its evaluations, what gateways do and counted; one frozen value
    content.py     what a release is made of: its digest, and what is wrong with it
    plan.py        state -> children: Revisions with their labels, EvalJobs
    status.py      state -> status and conditions, in words; pure
    reconcile.py   the turn: observe, look (llmops.rollout), report, apply

The decisions are made by `llmops.rollout`, which moves models the same way (serving/canary.py); this package brings
it what is so and writes down what it says. The status is written before anything that depends on it, the gateways read
the split from it, and `llmops explain` tells the whole story from it.
"""
