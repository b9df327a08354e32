"""Cohen's kappa (1960): how far two raters agree beyond what their habits alone would bring. Pure.

Weighted by the square of the distance (Cohen 1968), a 4 for a 5 is a smaller disagreement than a 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from llmops.geval import Judge


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


def agreement(judge: Judge, scored: Sequence[tuple[float, Any]]) -> tuple[dict[str, float], str]:
    """How far the judge's scores, rounded, are those that people gave: figures and a sentence."""
    labels = [(round(score), int(label)) for score, label in scored if _is_label(judge, label)]
    if not labels:
        return {}, f"no row has a label of the scale in field {judge.labels!r}"
    plain, squared = kappa(labels), kappa(labels, quadratic=True)
    figures = {"labelled": float(len(labels))}
    if plain is None or squared is None:
        return figures, f"on {len(labels)} labelled rows all scores are alike, so agreement means nothing"
    figures |= {"kappa": round(plain, 4), "kappaQuadratic": round(squared, 4)}
    return figures, f"Cohen's kappa with {judge.labels} on {len(labels)} rows {plain:.2f} (quadratic {squared:.2f})"


def _is_label(judge: Judge, label: Any) -> bool:
    try:
        return judge.lowest <= int(label) <= judge.highest and float(label) == int(label)
    except (TypeError, ValueError):
        return False
