"""Counting: Prometheus series bound once a combination of labels, not a request (labels() costs 3 us, a dict 0.1)."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter, Histogram

from llmops.gateway.choose import Choice
from llmops.gateway.snapshot import Service
from llmops.telemetry import metrics


@dataclass(frozen=True, slots=True)
class _Series:
    requests: Counter
    seconds: Histogram


class Meter:
    """What happened, by what was asked for."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str, str, int], _Series] = {}
        self._tokens: dict[str, tuple[Counter, Counter]] = {}
        self.generated: dict[str, int] = {}
        """Tokens out, by service."""

    def answered(
        self, path: str, service: Service | None, choice: Choice | None, variant: str, status: int, seconds: float
    ) -> None:
        """One request is over; `variant` of a model that is rolled out, where no prompt was asked."""
        if choice is not None:
            key = (path, choice.release.name, choice.version.label, choice.variant, status)
        else:
            key = (path, service.name if service else "", "", variant, status)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(
                metrics.GATEWAY_REQUESTS.labels(*key), metrics.GATEWAY_SECONDS.labels(path, key[1], key[3])
            )
        series.requests.inc()
        series.seconds.observe(seconds)

    def used(self, service: Service, tokens_in: int, tokens_out: int) -> float:
        """Tokens of one answer; what they cost."""
        series = self._tokens.get(service.name)
        if series is None:
            labels = metrics.GATEWAY_TOKENS.labels
            series = self._tokens[service.name] = (labels(service.name, "in"), labels(service.name, "out"))
        series[0].inc(tokens_in)
        series[1].inc(tokens_out)
        self.generated[service.name] = self.generated.get(service.name, 0) + tokens_out
        return tokens_in * service.price_in + tokens_out * service.price_out
