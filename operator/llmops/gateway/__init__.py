"""The door: one OpenAI-compatible address for every model and prompt of the cluster.

A request comes in by app.py (raw ASGI), is told who it is (auth.py), what it wants (choose.py), whether it may
(limits.py), what is said to the model (render.py, retrieve.py), and goes to the pod with the fewest requests pending
(upstream.py), for which it waits where there is none (hold.py); an answer is held to the form its release promises
(form.py); what happened is counted (meter.py) and told to rollouts (outcome.py, report.py), and where one asks for it
a candidate answers the same, unseen (shadow.py), a model reads the answer (judging.py), or it is remembered for
evaluations (capture.py); a thumb down is told to the index that was searched (disliked.py). An unmodified OpenAI
client needs only base_url and a key.

All that configuration can decide is decided when configuration changes: follow.py watches the cluster's objects,
compile.py makes a Snapshot of them (compiled templates, who may use what, where the pods are), and the whole is
swapped in; a request looks things up in the one snapshot it began with. When the API server is away the last snapshot
goes on being served: keys for `keys_stale_seconds`, a candidate's share of users for `split_stale_seconds`, then
stable only.

What this must never do: write to the cluster, read a Secret, show one tenant another's prompt, send a user more
candidate than the release's status says, or answer an error without saying what to do about it.
"""
