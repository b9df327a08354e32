"""Observation + plan -> the VectorIndex's status. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from llmops.api import ConditionType, Reason
from llmops.control import conditions, turns
from llmops.control.conditions import Condition
from llmops.retrieval import children, replicas
from llmops.retrieval.engines import place
from llmops.retrieval.engines.server import held
from llmops.retrieval.observe import Seen
from llmops.retrieval.outcome import Outcome
from llmops.retrieval.plan import Plan, State, engine_told, retry, told_served
from llmops.retrieval.referred import Missing
from llmops.retrieval.work import EmbeddingWork, Work, alias_of

STUCK = frozenset(
    {State.UNSUPPORTED, State.BAD_SOURCES, State.REJECTED, State.FAILED, State.AWAITING_APPROVAL}
)  # until a person does something


def status(seen: Seen, plan: Plan, now: datetime) -> dict[str, Any]:
    """The whole status. What is served is remembered from the moment its outcome was seen."""
    old = dict(seen.raw.get("status") or {})
    meta = seen.index.metadata
    kept = {name: old[name] for name in _KEPT if name in old}
    generation = {name: value for name, value in (old.get("generation") or {}).items() if name not in _PASSING}
    if plan.outcome is not None and plan.outcome.served and plan.work is not None:
        kept = _served(seen, plan.outcome, plan.work)
        done = plan.outcome
        generation |= {"active": done.generation, "name": done.collection, "digest": done.key}
    if plan.outcome is not None and plan.outcome.curve:
        kept["curve"] = list(plan.outcome.curve)
    if plan.outcome is not None:
        generation |= {"kept": list(plan.outcome.kept)[-100:], "previous": plan.outcome.previous}
    if plan.state in (State.BUILDING, State.AWAITING_APPROVAL) and plan.run is not None and plan.work is not None:
        building = plan.run.progress.get("generation")
        generation |= {"buildingDigest": plan.run.key, **({"building": building} if building else {})}
    if plan.state is State.REJECTED and plan.run is not None:
        generation["rejected"] = [plan.run.key]
    told = {
        "endpoint": f"http://{children.server_name(seen.index)}.{meta.namespace}:{children.PORT}",
        "alias": alias_of(meta.namespace, meta.name),
        "phase": str(plan.state),
        **kept,
        "generation": {"rejected": [], **{name: one for name, one in generation.items() if one is not None}},
        "measured": kept.get("measured") or {},
        "unread": kept.get("unread") or [],
        **({"lastScheduleTime": seen.turns.now} if seen.turns.now else {}),
        **({"nextRefresh": turns.write(seen.turns.next)} if seen.turns.next else {}),
    }
    active = generation.get("active")
    if seen.standing.name:
        memory = {**(told.get("memory") or {}), "engine": seen.standing.told()}
        told |= {"memory": {name: value for name, value in memory.items() if value}}
    found = _conditions(seen, plan, active, kept)
    told["conditions"] = conditions.merge(old.get("conditions") or [], found, meta.generation, now)
    return told


_KEPT = ("rows", "measured", "embedding", "lastRefresh", "unread", "memory", "curve")
_PASSING = ("building", "buildingDigest", "rejected")


def _served(seen: Seen, outcome: Outcome, work: Work) -> dict[str, Any]:
    before = (seen.index.status.memory if seen.index.status else None) or {}
    pace = outcome.pace or before.get("pace")  # of the last build that embedded enough to tell
    return {
        "rows": outcome.rows,
        "measured": dict(outcome.measured),
        "embedding": {
            "model": work.embedding.model,
            "dimensions": outcome.dimensions,
            "fingerprint": outcome.fingerprint,
        },
        "lastRefresh": outcome.at,
        "unread": list(outcome.problems),
        "memory": {
            "parts": dict(outcome.parts),
            "sources": [{"name": one.name, "sha256": one.sha256} for one in work.sources],
            "revision": work.embedding.revision,
            "place": _place(seen),
            "wereServed": _were_served(seen, outcome, work),
            **({"throughDoor": door} if (door := _through_door(seen, outcome, work)) else {}),
            **({"pace": pace} if pace else {}),
            **({"restored": restored} if (restored := seen.standing.restored) else {}),
            **({"began": began} if (began := seen.standing.began) else {}),
        },
    }


def _were_served(seen: Seen, outcome: Outcome, work: Work) -> list[dict[str, Any]]:
    """What was served with each of the generations that are kept: going back to it is nothing new."""
    memory = (seen.index.status.memory if seen.index.status else None) or {}
    now = {"generation": outcome.generation, "key": work.timeless}
    before = [one for one in memory.get("wereServed") or [] if one["generation"] in outcome.kept]
    return [*(one for one in before if one["key"] != work.timeless), now][-20:]


def _through_door(seen: Seen, outcome: Outcome, work: Work) -> list[int]:
    """Generations that are kept and embedded by somebody's API: their questions are asked at the door too."""
    memory = (seen.index.status.memory if seen.index.status else None) or {}
    before = [one for one in memory.get("throughDoor") or [] if one in outcome.kept]
    return sorted({*before, *([outcome.generation] if work.embedding.provider else [])})


def _conditions(seen: Seen, plan: Plan, active: int | None, kept: dict[str, Any]) -> list[Condition]:
    if plan.state is State.UNSUPPORTED:  # nothing is done, so of the rest holds what was said last
        return [*_summary(seen, plan, active, kept), *_said_last(seen, *_OF_BUILDS, *_OF_ENGINES)]
    looks = _only_looks(seen, plan)
    if looks:
        served = told_served(active, kept.get("rows"))
        plan = replace(plan, state=State.SERVED, reason=Reason.AS_WANTED, sentence=served)
    built = [_sources_read(seen, plan), _built(plan, active), _gates_passed(plan)]
    return [
        *_summary(seen, plan, active, kept),
        _engine_ready(seen),
        *(_said_last(seen, *_OF_BUILDS) if looks else built),
        _embedding_matches(seen, plan, active, kept),
    ]


_OF_BUILDS = (ConditionType.SOURCES_READ, ConditionType.BUILT, ConditionType.GATES_PASSED)
_OF_ENGINES = (ConditionType.ENGINE_READY, ConditionType.EMBEDDING_MATCHES)


def _said_last(seen: Seen, *types: str) -> list[Condition]:
    told = [one for one in (seen.raw.get("status") or {}).get("conditions") or [] if one["type"] in types]
    return [Condition(one["type"], one["status"], one["reason"], one["message"]) for one in told]


def _only_looks(seen: Seen, plan: Plan) -> bool:
    """Whether a Job looks if the sources still have what is served, and has found nothing else: so long, this spec is
    served as it was. Not where the alias or the engine's data may be elsewhere, which the Job is to mend."""
    if plan.state is not State.BUILDING or plan.work is None or plan.run is None or seen.standing.lost:
        return False
    same = seen.were_served[-1:] == (plan.work.timeless,) and seen.served != plan.work.parts
    was = {one.type: one.status for one in _said_last(seen, *_OF_BUILDS)}
    served = (was.get(ConditionType.BUILT), was.get(ConditionType.GATES_PASSED)) == ("True", "True")
    return same and served and plan.run.progress.get("generation", seen.active) == seen.active


def _summary(seen: Seen, plan: Plan, active: int | None, kept: dict[str, Any]) -> list[Condition]:
    """Ready speaks of this spec, Available of whether questions are answered at all: perhaps by the engine of before,
    which stays until the one that replaces it serves."""
    elsewhere = (kept.get("memory") or {}).get("place", _place(seen)) != _place(seen)
    back = seen.standing.went_back and plan.state is not State.SERVED and not elsewhere
    answers = elsewhere or ((seen.engine_waits is None or seen.engine_waits.answers) and not held(seen.index, back))
    serves = "what the vector database went back to" if back else f"generation {active}"
    available = active is not None and seen.servers_ready > 0 and answers
    wanted = seen.index.spec.query.replicas
    whole = available and seen.servers_ready >= wanted
    ready, reason, sentence = plan.state is State.SERVED and whole, plan.reason, plan.sentence
    if plan.state is State.SERVED and available and not whole:
        reason, sentence = Reason.QUERY_SERVER_STARTING, replicas.told(seen.servers_ready, wanted, seen.trouble)
    if ready and seen.standing.refusal:
        ready, reason, sentence = False, Reason.ENGINE_REFUSED, _engine_ready(seen).message
    if plan.state is State.SERVED and not available:
        reason = Reason.QUERY_SERVER_STARTING if answers else Reason.ENGINE_STARTING
        # only its Job and its query servers ask an engine, and no word of theirs reaches us while none is ready
        lost = f"where it stays so, the engine may have lost what was built: {retry(seen)} builds what is missing"
        starting = f"query server is starting; {lost}" if answers else "vector database is starting"
        sentence = seen.trouble or f"generation {active} is chosen; the {starting}"
    stalled = plan.state in STUCK or reason == Reason.ENGINE_REFUSED
    if active is not None and plan.state is not State.SERVED:
        measured = plan.outcome is not None and plan.outcome.generation == active
        sentence += f"; {serves} goes on {'with those of before' if measured else 'serving'}" if available else ""
    told = conditions.summary(ready=ready, available=available, reason=reason, message=sentence, stalled=stalled)
    silent = "nothing answers yet" if active is None else f"no query server can search generation {active} now"
    served = f"{serves} answers" if available else silent
    said = Condition(ConditionType.AVAILABLE, available, Reason.AS_WANTED if available else reason, served)
    return [said if one.type == ConditionType.AVAILABLE else one for one in told]


def _place(seen: Seen) -> str:
    return place(seen.index) or seen.index.spec.engine.mode


def _engine_ready(seen: Seen) -> Condition:
    external = seen.index.spec.engine.external
    if external is not None:
        told = f"the engine at {external.uri} is not ours: its Job and query server say whether it answers"
        return Condition(ConditionType.ENGINE_READY, None, Reason.AS_WANTED, told)
    refusal, backup = seen.standing.refusal, seen.standing.backup
    if refusal and refusal.was:
        told = f"{refusal.sentence}; image {refusal.was} goes on"
        return Condition(ConditionType.ENGINE_READY, False, Reason.ENGINE_REFUSED, told)
    if seen.engine_waits is None:
        told = f"the vector database answers{f'; {backup}' if backup else ''}"
        return Condition(ConditionType.ENGINE_READY, True, Reason.AS_WANTED, told)
    return Condition(ConditionType.ENGINE_READY, False, *engine_told(seen, seen.engine_waits))


def _sources_read(seen: Seen, plan: Plan) -> Condition:
    if seen.source_problem:
        return Condition(ConditionType.SOURCES_READ, False, Reason.SOURCES_INVALID, seen.source_problem)
    if plan.outcome is not None:
        return _read(seen, plan.outcome)
    if plan.state is State.FAILED:
        return Condition(ConditionType.SOURCES_READ, None, plan.reason, plan.sentence)
    return Condition(ConditionType.SOURCES_READ, None, plan.reason, "not all read yet")


def _read(seen: Seen, outcome: Outcome) -> Condition:
    told = f"{outcome.rows} passages of {len(seen.sources)} sources"
    told += f"; {outcome.carried} documents that were not seen this time stay" if outcome.carried else ""
    told += f"; {outcome.removed} documents are gone" if outcome.removed else ""
    told += f"; spec.cleaning.languages leaves out {', '.join(outcome.left_out)}" if outcome.left_out else ""
    if outcome.skipped:
        first = outcome.problems[0] if outcome.problems else ""
        told += f"; {outcome.skipped} could not be read (status.unread), such as {first}"
        return Condition(ConditionType.SOURCES_READ, False, Reason.DOCUMENTS_SKIPPED, told)
    return Condition(ConditionType.SOURCES_READ, True, Reason.AS_WANTED, told)


def _built(plan: Plan, active: int | None) -> Condition:
    if plan.outcome is not None:
        one = plan.outcome
        told = f"{one.collection} in {one.seconds:g} s; {one.embedded} of {one.rows} passages were embedded"
        return Condition(ConditionType.BUILT, True, Reason.AS_WANTED, told)
    reason = plan.reason if active is not None or plan.state is not State.WAITING else Reason.NOT_BUILT
    return Condition(ConditionType.BUILT, False, reason, plan.sentence)


def _gates_passed(plan: Plan) -> Condition:
    if plan.outcome is None:
        return Condition(ConditionType.GATES_PASSED, None, plan.reason, "nothing is measured yet")
    told = "; ".join(gate.sentence for gate in plan.outcome.gates) or "no gates were asked for"
    if plan.outcome.served:
        return Condition(ConditionType.GATES_PASSED, True, Reason.AS_WANTED, told)
    return Condition(ConditionType.GATES_PASSED, False, Reason.GATES_FAILED, told)


_BECAME = {
    State.BUILDING: "is built",
    State.AWAITING_APPROVAL: "waits to be approved",
    State.REJECTED: "did not pass its gates",
    State.FAILED: "could not be built",
}
"""What has become of the generation that is to replace one of another vector space."""


def _embedding_matches(seen: Seen, plan: Plan, active: int | None, kept: dict[str, Any]) -> Condition:
    """By the revision behind the service; the query server itself asks the service every few seconds."""
    memory = kept.get("memory") or {}
    if isinstance(seen.embedder, Missing):
        reason = Reason.REFERENCE_NOT_READY if seen.embedder.exists else Reason.REFERENCE_MISSING
        return Condition(ConditionType.EMBEDDING_MATCHES, None, reason, seen.embedder.sentence)
    if active is None or not isinstance(seen.embedder, EmbeddingWork) or "revision" not in memory:
        return Condition(ConditionType.EMBEDDING_MATCHES, None, Reason.NOT_BUILT, "nothing is embedded yet")
    then, today, name = memory["revision"][:10], seen.embedder.revision[:10], seen.embedder.model
    if then != today or (kept.get("embedding") or {}).get("model") != name:
        return Condition(
            ConditionType.EMBEDDING_MATCHES, False, Reason.EMBEDDER_CHANGED,
            f"generation {active} was embedded by revision {then} and {name} is at {today} now: a new generation "
            f"{_BECAME.get(plan.state, 'is not begun yet')}; until one is served, questions are answered only while "
            f"{name} still gives the same vectors",
        )  # fmt: skip
    return Condition(ConditionType.EMBEDDING_MATCHES, True, Reason.AS_WANTED, f"{name} embedded generation {active}")
