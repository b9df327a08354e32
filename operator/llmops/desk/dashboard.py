"""The Grafana dashboard, from the metrics as they are defined: a panel's words are the metric's own sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from llmops.telemetry import metrics as m

SCHEMA = 41
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One graph: of one metric, summed by some of its labels; a histogram's is a percentile."""

    title: str
    metric: MetricWrapperBase
    by: Sequence[str] = ()
    only: str = ""
    unit: str = "short"
    quantile: float = 0.95

    @property
    def query(self) -> str:
        """PromQL."""
        name, by = self.metric._name, ", ".join(self.by)
        only = f"{{{self.only}}}" if self.only else ""
        if isinstance(self.metric, Histogram):
            grouped = ", ".join(["le", *self.by])
            return f"histogram_quantile({self.quantile:g}, sum by ({grouped}) (rate({name}_bucket{only}{RATE})))"
        if isinstance(self.metric, Gauge):
            return f"sum by ({by}) ({name}{only})"
        return f"sum by ({by}) (rate({name}_total{only}{RATE}))"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Rollouts": (
        Panel("Users that meet the candidate", m.ROLLOUT_WEIGHT, ("kind", "name"), unit="percent"),
        Panel("Evidence against the candidate", m.ROLLOUT_EVIDENCE, ("name", "signal")),
        Panel("Answers by version", m.GATEWAY_REQUESTS, ("target", "version"), 'version!=""', "reqps"),
        Panel("Thumbs down", m.GATEWAY_FEEDBACK, ("release", "variant"), 'rating="down"', "cps"),
        Panel("Judged answers", m.GATEWAY_JUDGED, ("release", "variant", "result"), unit="cps"),
        Panel("Unseen answers", m.GATEWAY_SHADOWS, ("release", "result"), unit="cps"),
    ),
    "Evaluations": (
        Panel("What was measured", m.EVALUATION_VALUE, ("name", "metric")),
        Panel("Below their thresholds", m.EVALUATION_FAILS, ("name",)),
    ),
    "Models": (
        Panel("Requests", m.GATEWAY_REQUESTS, ("target",), unit="reqps"),
        Panel("Answered with an error", m.GATEWAY_REQUESTS, ("target", "status"), 'status=~"5.."', "reqps"),
        Panel("Seconds to the whole answer, p95", m.GATEWAY_SECONDS, ("target",), unit="s"),
        Panel("Seconds to the first byte, p95", m.GATEWAY_FIRST_BYTE_SECONDS, ("target",), unit="s"),
        Panel("Tokens", m.GATEWAY_TOKENS, ("service", "direction"), unit="cps"),
        Panel("Running and held", m.GATEWAY_SERVICE_REQUESTS, ("service", "state")),
        Panel("Answered by a fallback", m.GATEWAY_FALLBACKS, ("service", "fallback"), unit="reqps"),
        Panel("Made good by another attempt", m.GATEWAY_RETRIES, ("target",), unit="reqps"),
    ),
    "The door": (
        Panel("Refused", m.GATEWAY_REFUSED, ("code",), unit="reqps"),
        Panel("Seconds since the API server was heard", m.GATEWAY_CONTACT_AGE, ("pod",), unit="s"),
        Panel("Searches", m.RETRIEVAL_SEARCHES, ("status",), unit="reqps"),
        Panel("Seconds of a search, p95", m.RETRIEVAL_SECONDS, ("stage",), unit="s"),
        Panel("Best score of a search, median", m.RETRIEVAL_BEST_SCORE, ("pod",), quantile=0.5),
        Panel("Questions that found nothing good", m.RETRIEVAL_POOR, ("pod", "reason"), unit="cps"),
    ),
    "The operator": (
        Panel("Who leads", m.LEADING, ("pod",)),
        Panel("Gateways heard", m.GATEWAYS, ("pod",)),
        Panel("Turns", m.RECONCILES, ("kind", "result"), unit="cps"),
        Panel("Seconds of a turn, p95", m.RECONCILE_SECONDS, ("kind",), unit="s"),
        Panel("Waiting for their turn", m.QUEUE_DEPTH, ("pod",)),
        Panel("Calls to the API server", m.API_CALLS, ("verb", "resource"), unit="cps"),
    ),
}  # fmt: skip
SCRAPED = frozenset({"pod", "namespace", "job", "instance"})
"""Labels that Prometheus adds itself."""


def dashboard() -> str:
    """The whole dashboard as JSON."""
    panels: list[dict[str, Any]] = []
    down = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, down, 24, 1)})
        down += 1
        for place, one in enumerate(row):
            panels.append(_panel(one, _at(8 * (place % 3), down + 7 * (place // 3), 8, 7)))
        down += 7 * (-(-len(row) // 3))
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    whole = {
        "uid": "llmops", "title": "Language models (llmops-operator)", "schemaVersion": SCHEMA, "editable": True,
        "tags": ["llmops"], "time": {"from": "now-3h", "to": "now"}, "refresh": "30s",
        "templating": {"list": [source]}, "panels": [{"id": number, **one} for number, one in enumerate(panels, 1)],
    }  # fmt: skip
    return json.dumps(whole, indent=1) + "\n"


def _at(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _panel(one: Panel, at: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    legend = " ".join(f"{{{{{name}}}}}" for name in one.by)
    return {
        "type": "timeseries", "title": one.title, "description": one.metric._documentation, "gridPos": at,
        "datasource": source, "fieldConfig": {"defaults": {"unit": one.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [{"refId": "A", "datasource": source, "expr": one.query, "legendFormat": legend or one.title}],
    }  # fmt: skip
