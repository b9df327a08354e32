"""What gateways counted for one attempt: a set of units, each with its first meetings, first failures and first pairs.

`add` may be given the same record any number of times, in any order, from any gateway: of two records about the same
thing the earlier wins, so a failover, a restart or a lost report changes no count. `pack` and `unpack` make it small
enough for a ConfigMap, so that it survives even when every gateway and the operator restart at once.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmops.api.report import Unit as Record
from llmops.rollout.evidence import Counts

JUDGE = "Judge"
"""The signal that sees only some units: it counts those that were judged, and no others."""
MAX_PACKED = 40_000
"""Units that are packed, failed ones first: a ConfigMap holds 1 MiB. The gateways hold the rest."""


@dataclass(frozen=True, order=True, slots=True)
class Moment:
    """When a unit met a variant, or failed, and the weight then in force."""

    at: float
    weight: int
    candidate: bool


@dataclass(slots=True)
class Unit:
    """One user in this attempt: first meeting, first meeting with the candidate, first failure of each signal; and
    unseen: its first pair of answers, and the first of each signal that only one of the two failed. `judged`: its first
    judged answer, and the first of the candidate's."""

    first: Moment | None = None
    met: Moment | None = None
    failed: dict[str, Moment] = field(default_factory=dict)
    pair: Moment | None = None
    differed: dict[str, Moment] | None = None
    judged: tuple[Moment, Moment | None] | None = None

    def seen(self, signal: str) -> tuple[Moment | None, Moment | None]:
        """First, and first with the candidate, as this signal sees it."""
        return (self.judged or (None, None)) if signal == JUDGE else (self.first, self.met)


@dataclass(frozen=True)
class Shares:
    """Who met what at one weight: first meetings, of them with the candidate; and units new to the candidate."""

    weight: int
    units: int = 0
    candidate: int = 0
    met: int = 0


@dataclass(frozen=True)
class SignalCounts:
    """One signal: by weight, in all, and among those whose first candidate was the one at 100%."""

    by_weight: tuple[Counts, ...] = ()
    baked: tuple[int, int] = (0, 0)  # failed, units
    differed: tuple[int, int] = (0, 0)  # pairs of which one failed, of them the candidate's
    units: tuple[int, int] | None = None  # stable's and the candidate's, where the signal counts its own
    shares: tuple[Shares, ...] | None = None  # who of these met what

    @property
    def compared(self) -> tuple[Counts, ...]:
        """What speaks for or against harm. Of a pair that differs, either is as likely to be the worse one while both
        are alike: so it is a failure at 50%, one more fair bet beside those of the steps, in the same e-value."""
        n, x = self.differed
        return (Counts(0.5, n, x, n), *self.by_weight) if n else self.by_weight

    @property
    def failures(self) -> tuple[int, int]:
        """Failed units, in stable and in the candidate."""
        candidate = sum(one.x for one in self.by_weight)
        return sum(one.n for one in self.by_weight) - candidate, candidate


@dataclass(frozen=True)
class Tally:
    """Everything that is decided upon, counted at one moment."""

    shares: tuple[Shares, ...] = ()
    signals: dict[str, SignalCounts] = field(default_factory=dict)
    latest: float = 0.0  # when the newest record came to be
    pairs: int = 0  # units of whom two answers were compared

    @property
    def stable_units(self) -> int:
        """Units that met stable first."""
        return sum(one.units - one.candidate for one in self.shares)

    @property
    def candidate_units(self) -> int:
        """Units that met the candidate."""
        return sum(one.met for one in self.shares)

    def met(self, weight: int) -> int:
        """Units that met the candidate for the first time at this weight."""
        return sum(one.met for one in self.shares if one.weight == weight)

    def units(self, name: str) -> tuple[int, int]:
        """Units of stable and of the candidate, as this signal counts them."""
        return self.signal(name).units or (self.stable_units, self.candidate_units)

    def signal(self, name: str) -> SignalCounts:
        """The counts of a signal; none is no evidence."""
        return self.signals.get(name, SignalCounts())


class Ledger:
    """The set of units of one attempt."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.latest = 0.0

    def add(self, records: Iterable[Record]) -> None:
        """Take in reports."""
        for record in records:
            moment = Moment(record["at"], record["weight"], record["variant"] == "candidate")
            self._take(self.units.setdefault(record["unit"], Unit()), moment, record["signal"], record["kind"])

    def _take(self, unit: Unit, moment: Moment, signal: str | None, kind: str) -> None:
        self.latest = max(self.latest, moment.at)
        if kind == "failure" and signal is not None:
            unit.failed[signal] = _earlier(unit.failed.get(signal), moment)
        elif kind == "pair" and signal is not None:
            differed = unit.differed = unit.differed or {}
            differed[signal] = _earlier(differed.get(signal), moment)
        elif kind == "pair":
            unit.pair = _earlier(unit.pair, moment)
        elif kind == "judged":
            first, met = unit.judged or (moment, None)
            unit.judged = min(first, moment), _earlier(met, moment) if moment.candidate else met
        elif kind == "exposure":
            unit.first = _earlier(unit.first, moment)
            if moment.candidate:
                unit.met = _earlier(unit.met, moment)

    def tally(self, signals: Sequence[str], now: float, windows: dict[str, float]) -> Tally:
        """Count. A failure of a unit whose exposure no gateway knows does not count."""
        known = [unit for unit in self.units.values() if unit.first is not None]
        pairs = [unit for unit in self.units.values() if unit.pair is not None]
        counts = {name: _count(name, known, now - windows.get(name, 0.0)) for name in signals}
        if JUDGE in counts:
            counts[JUDGE] = _own(counts[JUDGE], known)
        if pairs:
            counts = {name: replace(one, differed=_differed(name, pairs)) for name, one in counts.items()}
        return Tally(_shares(known), counts, _latest(known, now), len(pairs))

    def extent(self) -> tuple[int, float]:
        """Changes whenever something new came."""
        many = sum(1 + len(one.failed) + len(one.differed or ()) for one in self.units.values())
        return many, self.latest

    def pack(self) -> str:
        """As text, for a ConfigMap."""
        chosen = sorted(self.units.items(), key=lambda one: (not (one[1].failed or one[1].differed), _at(one[1])))[
            :MAX_PACKED
        ]
        rows = [
            [name, _row(unit.first), _row(unit.met), {s: _row(m) for s, m in unit.failed.items()}, *_more(unit)]
            for name, unit in chosen
        ]
        return base64.b85encode(zlib.compress(json.dumps(rows, separators=(",", ":")).encode(), 6)).decode()

    def unpack(self, text: str) -> None:
        """Take in what `pack` wrote, as if a gateway had told it; ValueError where it is damaged."""
        try:
            rows = json.loads(zlib.decompress(base64.b85decode(text)))
        except (zlib.error, UnicodeDecodeError) as problem:
            raise ValueError(f"the stored evidence cannot be read: {problem}") from problem
        for name, first, met, failed, *more in rows:  # a version without shadows packed four
            unit = self.units.setdefault(name, Unit())
            for moment in (first, met):
                if moment:
                    self._take(unit, Moment(moment[0], moment[1], bool(moment[2])), None, "exposure")
            for signal, moment in failed.items():
                self._take(unit, Moment(moment[0], moment[1], bool(moment[2])), signal, "failure")
            for signal, moment in more[0].items() if more else ():
                self._take(unit, Moment(moment[0], moment[1], bool(moment[2])), signal or None, "pair")
            for moment in more[1] if len(more) > 1 else ():
                self._take(unit, Moment(moment[0], moment[1], bool(moment[2])), JUDGE, "judged")


def _more(unit: Unit) -> list[Any]:
    """Its pairs, the first one under no signal's name, and its judged answers; nothing where there is neither."""
    found = {**({"": unit.pair} if unit.pair else {}), **(unit.differed or {})}
    pairs = {signal: _row(moment) for signal, moment in found.items()}
    judged = [_row(moment) for moment in unit.judged or () if moment is not None]
    return [pairs, judged] if judged else [pairs] if pairs else []


def _row(moment: Moment | None) -> list[float] | None:
    return [round(moment.at, 1), moment.weight, int(moment.candidate)] if moment else None


def _at(unit: Unit) -> float:
    first = unit.first or unit.pair
    return first.at if first else 0.0


def _earlier(one: Moment | None, other: Moment) -> Moment:
    return other if one is None else min(one, other)


def _latest(units: Iterable[Unit], now: float) -> float:
    """When the newest record came to be. What lies ahead of the clock (it was set back) does not count as time."""
    moments = (moment for unit in units for moment in (unit.first, unit.met, *unit.failed.values()))
    return max((one.at for one in moments if one is not None and one.at <= now), default=0.0)


def _own(counts: SignalCounts, units: Iterable[Unit]) -> SignalCounts:
    """With the units that this signal saw."""
    shares = _shares(units, JUDGE)
    stable = sum(one.units - one.candidate for one in shares)
    return replace(counts, units=(stable, sum(one.met for one in shares)), shares=shares)


def _shares(units: Iterable[Unit], signal: str = "") -> tuple[Shares, ...]:
    seen: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for unit in units:
        first, met = unit.seen(signal)
        if first is None:
            continue
        cell = seen[first.weight]
        cell[0] += 1
        cell[1] += first.candidate
        if met is not None:
            seen[met.weight][2] += 1
    return tuple(Shares(weight, *cell) for weight, cell in sorted(seen.items()))


def _differed(signal: str, pairs: Iterable[Unit]) -> tuple[int, int]:
    found = [unit.differed[signal] for unit in pairs if unit.differed and signal in unit.differed]
    return len(found), sum(one.candidate for one in found)


def _count(signal: str, units: Iterable[Unit], closed_before: float) -> SignalCounts:
    """A unit survives the weight of its first meeting if its window has closed and it did not fail at that weight.

    If it fails at a higher weight later, that failure counts there, and nothing else does: a failure without its
    survivors only weakens `no_worse` (its bet loses in expectation), and `harm` looks at failures alone.
    """
    cells: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])  # n, x, survivors
    baked = [0, 0]
    for unit in units:
        first, met = unit.seen(signal)
        if first is None:
            continue
        failed = unit.failed.get(signal)
        if failed is not None:
            cells[failed.weight][0] += 1
            cells[failed.weight][1] += failed.candidate
        if (failed is None or failed.weight > first.weight) and first.at <= closed_before:
            cells[first.weight][2] += 1
        # In the bake units count at once: those that will still fail make `bake_harm` smaller until they do.
        if met is not None and met.weight == 100 and (failed is None or failed.weight == 100):
            baked[0] += failed is not None
            baked[1] += 1
    by_weight = [Counts(weight / 100, n, x, n + survived) for weight, (n, x, survived) in sorted(cells.items())]
    return SignalCounts(tuple(by_weight), (baked[0], baked[1]))
