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
ROLLOUT_WEIGHT = Gauge(
    "llmops_rollout_weight", "Percent of users that meet the candidate of a rollout that is under way.",
    ["kind", "name"],
)  # fmt: skip
ROLLOUT_EVIDENCE = Gauge(
    "llmops_rollout_evidence", "The e-value that the candidate is worse, by signal; what decides is in the status.",
    ["kind", "name", "signal"],
)  # fmt: skip

EVALUATION_VALUE = Gauge(
    "llmops_evaluation_value", "What an EvalJob measured last, by metric (drift, refusal, cost and all others).",
    ["name", "metric"],
)  # fmt: skip
EVALUATION_FAILS = Gauge(
    "llmops_evaluation_fails",
    "1 while an EvalJob's last verdict is Fail or Error: for an alert on a schedule.",
    ["name"],
)

# gateway
_ANSWER_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
GATEWAY_REQUESTS = Counter(
    "llmops_gateway_requests_total", "Requests by path, what they asked for, the version that answered and the status.",
    ["path", "target", "version", "variant", "status"],
)  # fmt: skip
GATEWAY_SECONDS = Histogram(
    "llmops_gateway_request_seconds", "From a request's arrival to the end of its answer.",
    ["path", "target", "variant"], buckets=_ANSWER_SECONDS,
)  # fmt: skip
GATEWAY_FIRST_BYTE_SECONDS = Histogram(
    "llmops_gateway_first_byte_seconds", "From a streamed request's arrival to the first byte of its answer.",
    ["target"], buckets=_ANSWER_SECONDS,
)  # fmt: skip
GATEWAY_TOKENS = Counter(
    "llmops_gateway_tokens_total", "Tokens by service and direction (in, out).", ["service", "direction"]
)
GATEWAY_RETRIES = Counter(
    "llmops_gateway_retries_total", "Attempts that had to be made good by another one.", ["target"]
)
GATEWAY_FALLBACKS = Counter(
    "llmops_gateway_fallbacks_total", "Requests that a service's fallback answered.", ["service", "fallback"]
)
GATEWAY_REFUSED = Counter(
    "llmops_gateway_refused_total", "Requests that the door answered with an error, by its code.", ["code"]
)
GATEWAY_FEEDBACK = Counter(
    "llmops_gateway_feedback_total", "Feedback on prompts' answers.", ["release", "variant", "rating"]
)
GATEWAY_DISLIKED = Counter(
    "llmops_gateway_disliked_total",
    "Thumbs down on answers that passages were found for, by their index and whether it was told the question (told, "
    "unknown: another gateway answered and the feedback has no question, unable).",
    ["index", "result"],
)  # fmt: skip
GATEWAY_SHADOWS = Counter(
    "llmops_gateway_shadows_total",
    "Requests that a candidate was to answer unseen, by result (compared, busy, unable, given up).",
    ["release", "result"],
)  # fmt: skip
GATEWAY_SHADOW_TOKENS = Counter(
    "llmops_gateway_shadow_tokens_total",
    "Tokens of unseen answers by release and direction (in, out); they are among their service's, and no key's.",
    ["release", "direction"],
)  # fmt: skip
GATEWAY_JUDGED = Counter(
    "llmops_gateway_judged_total",
    "Answers that the signal Judge was to read, by release, variant and result (good, bad, busy, unreadable, unable).",
    ["release", "variant", "result"],
)  # fmt: skip
GATEWAY_CAPTURED = Counter(
    "llmops_gateway_captured_total",
    "Requests of spec.capture's share, by release and result (kept, long: more than 8,000 bytes, conversation: more"
    " than one message of the caller's own, empty: no text, such as a call of a tool).",
    ["release", "result"],
)  # fmt: skip
GATEWAY_RUNNING = Gauge("llmops_gateway_running_requests", "Requests being answered at this moment.")
GATEWAY_HELD = Gauge("llmops_gateway_held_requests", "Requests that wait for a service's first pod.")
GATEWAY_SERVICE_REQUESTS = Gauge(
    "llmops_gateway_service_requests", "Requests of a service at this moment, by state (running, held).",
    ["service", "state"],
)  # fmt: skip
GATEWAY_COMPILE_SECONDS = Histogram(
    "llmops_gateway_compile_seconds", "How long making a snapshot of the configuration takes.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1),
)  # fmt: skip
GATEWAY_CONTACT_AGE = Gauge(
    "llmops_gateway_contact_age_seconds", "Since the API server was last heard; keys and splits age with it."
)
GATEWAY_UNITS_DROPPED = Counter(
    "llmops_gateway_units_dropped_total", "Units not kept as evidence because the bound on their number was reached."
)

# retrieval
RETRIEVAL_SEARCHES = Counter(
    "llmops_retrieval_searches_total", "Searches by the status they were answered with.", ["status"]
)
RETRIEVAL_POOR = Counter(
    "llmops_retrieval_poor_searches_total",
    "Questions that found nothing good: nothing at all (empty), nothing as near as spec.query.poorBelow (low), or "
    "nothing that helped the user who was answered from it (disliked).", ["reason"],
)  # fmt: skip
RETRIEVAL_BEST_SCORE = Histogram(
    "llmops_retrieval_best_score",
    "How near the best passage of a user's search is (cosine, inner product, or 1 / (1 + squared L2)): it falls where "
    "users come to ask other things than the documents say.",
    buckets=(0, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1),
)  # fmt: skip
RETRIEVAL_WIDENED = Counter(
    "llmops_retrieval_widened_total",
    "Searches again with more candidates (ef, nprobe), since too few of those looked at passed the filter.",
)
RETRIEVAL_SECONDS = Histogram(
    "llmops_retrieval_seconds", "How long a search takes, by stage (embed; search, of it rerank).", ["stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
RETRIEVAL_WITHHELD = Counter(
    "llmops_retrieval_withheld_passages_total",
    "Passages that the engine found though the caller may not see them, and that were left out: it should be 0.",
)
RETRIEVAL_RERANKS = Counter(
    "llmops_retrieval_reranks_total",
    "Searches with spec.query.rerank by what came of it: reranked, or failed, which answers in the order of before.",
    ["result"],
)
RETRIEVAL_GENERATION = Gauge("llmops_retrieval_generation", "The generation that is searched.")
RETRIEVAL_EMBEDDING_MATCHES = Gauge(
    "llmops_retrieval_embedding_matches", "1 while the embedder puts sentences where it put the passages."
)
