"""What embedding costs, told before it is begun. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from llmops.api.common import Pricing

MILLION = 1_000_000


@dataclass(frozen=True)
class Estimate:
    """Passages that need a new vector, and about how many tokens they have."""

    passages: int
    tokens: int

    def above(self, limits: Mapping[str, int]) -> bool:
        """Whether a person is to be asked first; without limits nobody is."""
        return any(asdict(self)[name] > most for name, most in limits.items())

    def told(self, pace: float, pricing: Pricing | None) -> str:
        """In words: with the time, by the passages a second of an earlier build, and the money, by the service's
        prices, where there are any."""
        parts = [f"about {self.tokens:,} tokens"]
        if pricing is not None:
            cost = self.tokens * float(pricing.input_per_million_tokens) / MILLION
            parts.append(f"about {cost:,.2f} {pricing.currency}")
        if pace:
            parts.append(f"about {_time(self.passages / pace)} as fast as the last time")
        return f"{self.passages:,} passages to embed ({', '.join(parts)})"


def limits(passages: int | None, cost: str | None, pricing: Pricing | None) -> dict[str, int]:
    """spec.rollout.approveAbove as what a Job can count: money by the service's price for a token."""
    found = {} if passages is None else {"passages": passages}
    price = float(pricing.input_per_million_tokens) if pricing else 0.0
    return found if cost is None or not price else {**found, "tokens": int(float(cost) / price * MILLION)}


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
