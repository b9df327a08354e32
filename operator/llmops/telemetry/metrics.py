"""Every Prometheus metric, once. Add yours under your room's heading; labels must have few values (never user ids)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# control
QUEUE_DEPTH = Gauge("llmops_queue_depth", "Objects waiting for their turn.")
RECONCILES = Counter("llmops_reconciles_total", "Turns by kind and result (ok, conflict, error).", ["kind", "result"])
RECONCILE_SECONDS = Histogram(
    "llmops_reconcile_seconds", "How long a turn takes, by kind.", ["kind"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)  # fmt: skip
API_CALLS = Counter(
    "llmops_api_calls_total", "Calls to the API server by verb, resource and result (ok, error).",
    ["verb", "resource", "result"],
)  # fmt: skip
LEADING = Gauge("llmops_leading", "1 in the replica that leads.")
GATEWAYS = Gauge("llmops_gateways", "Gateways whose last report is younger than five seconds.")
