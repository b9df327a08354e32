"""What a schedule has found so far, from the results that are kept. Pure; today's thresholds judge them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmops.evaluation import run as runs
from llmops.evaluation.children import TURN
from llmops.evaluation.results import Results, loads
from llmops.evaluation.verdict import Verdict

Raw = Mapping[str, Any]


def trend(results: Sequence[Raw], judge: Callable[[Results], Verdict], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """A point for each ConfigMap with the results of a schedule's run, oldest first."""
    turns = sorted((one for one in results if TURN in one["metadata"]["annotations"]), key=_turn)
    points = []
    for one in turns:
        try:
            found = loads(one["data"][runs.RESULTS])
        except ValueError:  # of another version of this program
            continue
        values = [_value(found, name) for name in metrics]
        points.append({"finishedAt": finished(one), "verdict": judge(found).value, "metrics": values})
    return points


def finished(config_map: Raw) -> str | None:
    """When the run of this ConfigMap ended."""
    data = config_map.get("data") or {}
    told = data.get(runs.FINISHED) or (config_map["metadata"].get("creationTimestamp") if runs.RESULTS in data else "")
    return str(told) if told else None


def _turn(config_map: Raw) -> str:
    return str(config_map["metadata"]["annotations"][TURN])


def _value(results: Results, name: str) -> dict[str, str]:
    metric = results.metric(name)
    value = metric.target.value if metric else None
    return {"name": name, **({"value": f"{value:.4f}"} if value is not None else {})}
