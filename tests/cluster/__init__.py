"""A real Kubernetes for the tests and the demo, in one command: `make cluster-up`.

Server-side apply, CEL, garbage collection, the scheduler, probes, eviction and networking are what this product is
about, so nothing here emulates them. `choose()` takes, in this order:

1. the cluster you have, if you say so: `--cluster=current` (or LLMOPS_CLUSTER=current) uses your kubeconfig's current
   context, in namespaces of its own. Without those words no cluster that was not made here is ever touched.
2. kind, where Docker runs (kind.py);
3. else, on Linux as root, a node of our own, compiled from Go modules and Debian's containerd (node.py).

All three give the same thing: the path of a kubeconfig. Only the standard library is used, so that this runs before any
virtual environment exists. Where to look: node.py is the story of the start, clean.py of the end, components.py
has every program's settings, images.py builds the Dockerfile's targets and loads them.

NetworkPolicies are accepted by the own node's API server and not enforced; nothing here says otherwise.
"""
