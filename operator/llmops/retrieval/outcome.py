"""What a Job leaves behind in its ConfigMap: small, and enough for the whole status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class GateResult:
    """One gate, and what it said."""

    type: str
    passed: bool
    sentence: str


@dataclass(frozen=True)
class Outcome:
    """One finished Job. `served`: every gate passed and the alias points here; else the alias stayed where it was."""

    key: str
    generation: int
    collection: str
    served: bool
    rows: int
    dimensions: int
    fingerprint: str
    measured: Mapping[str, str | int]
    gates: tuple[GateResult, ...]
    parts: Mapping[str, str]
    embedded: int = 0  # passages embedded now; the other vectors were copied or there already
    previous: str | None = None  # the collection, of those kept, that was served before the active one
    seconds: float = 0.0
    at: str = ""
    kept: tuple[int, ...] = ()  # generations that passed their gates and are still there
    problems: tuple[str, ...] = ()  # the first of what could not be read, in words
    skipped: int = 0  # how many of them in all
    carried: int = 0  # documents that were not seen and stay
    removed: int = 0  # documents that are gone
    left_out: tuple[str, ...] = ()  # documents in other languages than those wanted: how many of each, in words
    pace: float = 0.0  # passages embedded a second; 0 where there were too few to tell
    curve: tuple[Mapping[str, str | int], ...] = ()  # what was tried with autoTuneSearch

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, allow_nan=False, ensure_ascii=False)

    @property
    def failed(self) -> str:
        """The gates that did not pass, in words."""
        return "; ".join(gate.sentence for gate in self.gates if not gate.passed)


def loads(text: str) -> Outcome:
    """What `dumps` wrote; ValueError says what does not fit."""
    raw: dict[str, Any] = json.loads(text)
    if raw.pop("format", None) != FORMAT:
        raise ValueError(f"an outcome of a format other than {FORMAT}")
    try:
        gates = tuple(GateResult(**one) for one in raw.pop("gates"))
        lists: dict[str, Any] = {name: tuple(raw.pop(name, ())) for name in ("kept", "problems", "curve", "left_out")}
        return Outcome(gates=gates, **lists, **raw)
    except (KeyError, TypeError) as error:
        raise ValueError(f"an outcome that cannot be read: {error!r}") from None
