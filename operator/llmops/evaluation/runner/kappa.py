"""Cohen's kappa (1960): how far two raters agree beyond what their habits alone would bring. Pure.

Weighted by the square of the distance (Cohen 1968), a 4 for a 5 is a smaller disagreement than a 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def kappa(pairs: Sequence[tuple[int, int]], quadratic: bool = False) -> float | None:
    """One less observed over expected disagreement; None where chance alone would agree always."""
    n = len(pairs)

    def apart(one: int, other: int) -> float:
        return float((one - other) ** 2) if quadratic else float(one != other)

    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    observed = sum(apart(one, other) for one, other in pairs) / n
    expected = sum(
        apart(one, other) * times * others for one, times in first.items() for other, others in second.items()
    ) / (n * n)
    return 1 - observed / expected if expected else None
