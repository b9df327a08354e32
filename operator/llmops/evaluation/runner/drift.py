"""Drift: how far what users ask and are told now lies from what it was when this version was first looked at.

Four things are looked at, each in bins: the length of questions and of answers (tenths of the first profile), refusals,
and, where a service embeds, what is asked about (ten clusters of the first profile's questions). Their distance is the
population stability index less what chance alone makes of it (llmops/psi.py). The value is the greatest of the four,
and its interval covers all of them at once (results.Apart). Pure but for numpy's seeded draws.

A profile (JSON, in the results) is handed from run to run, so that every run is compared with the first one of the same
target; another version of the target begins with a profile of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmops.evaluation.results import LEVELS, Apart, Measured, MetricResult, Paired
from llmops.evaluation.rows import Row
from llmops.evaluation.runner import marks
from llmops.evaluation.runner.answers import Answers
from llmops.evaluation.runner.draws import DRAWS, short
from llmops.psi import BINS, LEAST, Array, beyond_chance, chance, counted, psi, tenths

PROJECTED = 64
"""Dimensions of an embedding that are kept: a random projection keeps distances to about a fifth (Johnson and
Lindenstrauss 1984), and ten clusters' centres then fit the results."""
ROUNDS = 25
SAME = 1e-3
"""Of the cosine, that two questions lie apart and are yet the same: what rounding leaves."""

Profile = Mapping[str, Any]
"""{"rows": n, "parts": {name: {"counts": [...], "edges": [...] or "centres": [[...]]}}}"""
Vectors = Mapping[str, Sequence[float]]
"""Embedded questions by row, `projected`."""


def projected(vector: Sequence[float]) -> list[float]:
    """A short vector of length 1 in place of an embedding, the same for the same embedding in every run."""
    rows = np.random.default_rng(len(vector)).standard_normal((PROJECTED, len(vector)))
    short_one = rows @ np.asarray(vector, dtype=np.float64)
    return [round(float(one), 4) for one in short_one / (np.linalg.norm(short_one) or 1.0)]


def measured(
    name: str, rows: Sequence[Row], answers: Answers, vectors: Vectors, first: Profile | None, seed: str
) -> tuple[MetricResult, Profile | None]:
    """The result, and the profile that the next run is compared with."""
    told = {row.id: (row.input, answers.by_id[row.id].text) for row in rows if row.id in answers.by_id}
    if len(told) < LEAST:
        why = f"{len(told)} requests were answered, where {LEAST} are needed to tell drift from chance"
        return _result(name, len(told), why=why), first
    now = _values(told, vectors)
    if first is None:
        note = f"the first look: later runs of this version are compared with these {len(told)} rows"
        return _result(name, len(told), note=note), _profile(len(told), now)
    apart = [
        Apart(part, "now", "then", _distance(np.array(one["counts"]), _counted(one, now[part]), seed))
        for part, one in first["parts"].items()
        if len(now[part]) >= LEAST
    ]
    most = max(apart, key=lambda one: one.paired.delta or 0.0)
    note = (
        f"the greatest of {len(apart)}: {most.metric}; {len(told)} rows against the {first['rows']} of the first look"
    )
    return _result(name, len(told), most.paired.delta or 0.0, apart, note=note), first


def _result(
    name: str, n: int, value: float = 0.0, apart: Sequence[Apart] = (), note: str = "", why: str = ""
) -> MetricResult:
    found = Measured(0 if why else n, None if why else value)
    return MetricResult(name, "groups", found, less_is_better=True, note=note, why=why, apart=tuple(apart))


def _values(told: Mapping[str, tuple[str, str]], vectors: Vectors) -> dict[str, Array]:
    """By part, a line a row."""
    refusals = [marks.refusal(answer) for _, answer in told.values()]
    return {
        "question length": np.array([[len(question)] for question, _ in told.values()], dtype=np.float64),
        "answer length": np.array([[len(answer)] for _, answer in told.values()], dtype=np.float64),
        "refusals": np.array([[one] for one in refusals]),
        "topics": np.array([vectors[key] for key in told if key in vectors], dtype=np.float64),
    }


def _profile(rows: int, now: Mapping[str, Array]) -> Profile:
    parts: dict[str, dict[str, Any]] = {}
    for name, values in now.items():
        if name == "topics":
            if len(values) < LEAST:
                continue
            bins: dict[str, Any] = {"centres": [[round(float(one), 4) for one in line] for line in centres(values)]}
        else:
            edges = [0.5] if name == "refusals" else tenths(values)
            bins = {"edges": edges}
        parts[name] = {**bins, "counts": [int(one) for one in _counted(bins, values)]}
    return {"rows": rows, "parts": parts}


def _counted(bins: Mapping[str, Any], values: Array) -> Array:
    """Rows in each bin."""
    if "centres" in bins:
        places = (values @ np.array(bins["centres"]).T).argmax(axis=1)  # of length 1 all: the nearest
        return np.bincount(places, minlength=len(bins["centres"])).astype(np.float64)
    return counted(bins["edges"], values[:, 0])


def _distance(then: Array, now: Array, seed: str) -> Paired:
    """Less what chance makes of it; a draw of both samples has chance in it once more."""
    random = np.random.default_rng(int(seed[:16] or "0", 16))
    drawn = [random.multinomial(int(one.sum()), one / one.sum(), size=DRAWS).astype(np.float64) for one in (then, now)]
    found = psi(drawn[0], drawn[1]) - 2 * chance(then, now)
    value = beyond_chance(then, now)
    return Paired(int(now.sum()), None, short(value), tuple(short(q) for q in np.quantile(found, LEVELS)))


def centres(values: Array) -> Array:
    """Lloyd's k-means on the sphere, begun at points that lie far apart (k-means++, Arthur and Vassilvitskii 2007)."""
    random = np.random.default_rng(0)
    chosen = [values[random.integers(len(values))]]
    while len(chosen) < BINS:
        away = 1 - (values @ np.array(chosen).T).max(axis=1)
        away[away < SAME] = 0
        if not away.any():  # there are no more different questions than that
            break
        chosen.append(values[random.choice(len(values), p=away / away.sum())])
    found = np.array(chosen)
    for _ in range(ROUNDS):
        places = (values @ found.T).argmax(axis=1)
        sums = np.array([values[places == at].sum(axis=0) for at in range(len(found))])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        found = np.where(lengths > 0, sums / np.where(lengths > 0, lengths, 1), found)
    return found
