"""What Jobs left behind: which of it is kept, and whether the alias can still be where it is remembered to be. Pure."""

from __future__ import annotations

from collections.abc import Collection

from llmops.kube.resources import Object
from llmops.retrieval.observe import Seen
from llmops.retrieval.outcome import Outcome
from llmops.retrieval.run import Run


def astray(seen: Seen, wanted: str) -> list[Run]:
    """Works that are not wanted and may have moved the alias since, or may be moving it at this moment: no outcome of
    before is to be believed then."""
    return [one for one in seen.runs if one.key != wanted and _may_have_moved(one, seen, wanted)]


def _may_have_moved(one: Run, seen: Seen, wanted: str) -> bool:
    """What ended before it could say what it did may have moved the alias as its last step."""
    run = seen.run(wanted)
    if run is not None and run.outcome is not None and run.outcome.served:
        return _later(one, run, run.outcome)
    remembered = seen.served is not None and one.key == seen.served.key
    if one.goes_on:  # though it told its outcome: its pod may have died before it had ended, and another one come
        return True
    if one.outcome is None:
        return one.waiting is None and not remembered
    return one.outcome.served and not remembered


def _later(one: Run, served: Run, outcome: Outcome) -> bool:
    """Than what is served, as no Job begins beside another. What that has replaced is deleted in several steps, and any
    part of it may still be seen."""
    if one.outcome is not None:
        by_one_clock = one.begun and served.begun  # which what Jobs tell is not: each goes by its node's
        later = one.begun > served.begun if by_one_clock else one.outcome.at > outcome.at
        return one.outcome.served and later
    return one.goes_on or (one.waiting is None and (not one.begun or one.begun > served.begun))


def of_both(seen: Seen, wanted: str, stopped: Collection[str] = ()) -> tuple[Object, ...]:
    """What the wanted work and the served one left."""
    return _of(seen, {wanted, seen.served.key if seen.served else wanted}, stopped)


def of_served(seen: Seen, run: Run) -> tuple[Object, ...]:
    """What the served work left: this run is begun again."""
    return _of(seen, ({seen.served.key} if seen.served else set()) - {run.key})


def of_wanted(seen: Seen, run: Run) -> tuple[Object, ...]:
    """What this run left."""
    return _of(seen, {run.key})


def of_all(seen: Seen) -> tuple[Object, ...]:
    """Everything, while nobody can tell what is wanted; but a Job that goes on for a spec of before, or though it is
    suspended, is stopped, as it would move the alias. What it reported stays, and says later where that may be."""
    told = (seen.raw.get("status") or {}).get("observedGeneration")
    stops = seen.index.spec.suspend or told not in (None, seen.raw["metadata"]["generation"])
    stopped = {one.key for one in seen.runs if one.goes_on} if stops else set()
    return _of(seen, {one.key for one in seen.runs}, stopped)


def _of(seen: Seen, keys: set[str], stopped: Collection[str] = ()) -> tuple[Object, ...]:
    """Of the stopped ones only what they reported."""
    found: list[Object] = []
    for run in seen.runs:
        if run.key in keys and run.results is not None:
            found.append(run.results)
        if run.key in keys and run.key not in stopped and run.job is not None:
            found.append(run.job)
            found += [{"kind": "ConfigMap", "metadata": {"name": run.input}}] if run.input else []
    return tuple(found)
