"""Observation -> the cheapest safe action, the children, and where the index stands. Pure.

The order of the questions matters: what this version cannot do is said before anything is begun, a broken source
before a missing embedder (sources are the user's to mend), and whatever is wrong, what is served goes on being served.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from llmops.api import Reason, names
from llmops.api.quantities import quantity
from llmops.kube.resources import Object
from llmops.retrieval import children, left
from llmops.retrieval.engines import ENGINES, unavailable
from llmops.retrieval.engines.waits import STARTING, Waits
from llmops.retrieval.estimate import Estimate
from llmops.retrieval.observe import Seen
from llmops.retrieval.outcome import Outcome
from llmops.retrieval.referred import Missing
from llmops.retrieval.run import Run
from llmops.retrieval.work import Parts, Work

LOOK_AT_UNFOLLOWED = 60.0  # seconds between looks at sources without the label llmops.dev/watch
LOOK_AT_RUNNING = 30.0  # events come by themselves; this is for one that was lost
STOPPING = 1.0


@dataclass(frozen=True)
class Nothing:
    """What is served is what is wanted."""


@dataclass(frozen=True)
class MeasureAgain:
    """The collection stays; its gates are asked again, and the new search parameters serve if they pass."""


@dataclass(frozen=True)
class Rebuild:
    """A new generation; with `copy_vectors` only passages with a new text are embedded."""

    copy_vectors: bool


Action = Nothing | MeasureAgain | Rebuild


def cheapest(served: Parts | None, wanted: Parts) -> Action:
    """What a change costs. Passages that are cut anew keep their vectors where their text is one that there was."""
    if served is None or served.space != wanted.space:
        return Rebuild(copy_vectors=False)
    if served.collection != wanted.collection:
        return Rebuild(copy_vectors=True)
    return Nothing() if served == wanted else MeasureAgain()


class State(StrEnum):
    """Where an index stands."""

    UNSUPPORTED = "Unsupported"
    BAD_SOURCES = "BadSources"
    WAITING = "Waiting"
    STARTING = "Starting"
    BUILDING = "Building"
    AWAITING_APPROVAL = "AwaitingApproval"
    SERVED = "Served"
    REJECTED = "Rejected"
    FAILED = "Failed"


@dataclass(frozen=True)
class Plan:
    """What should be, and what to say about it."""

    state: State
    reason: Reason
    sentence: str
    children: tuple[Object, ...] = ()
    keep: tuple[Object, ...] = ()  # besides children: Jobs and ConfigMaps that are left as they are
    work: Work | None = None
    run: Run | None = None
    look_after: float | None = None

    @property
    def outcome(self) -> Outcome | None:
        return self.run.outcome if self.run else None


def plan(seen: Seen) -> Plan:
    """What to do about `seen`."""
    told = unsupported(seen)
    if told:
        return Plan(State.UNSUPPORTED, Reason.UNSUPPORTED, told)
    if seen.turns.problem:
        return Plan(State.UNSUPPORTED, Reason.INVALID_SPEC, f"spec.refresh.{seen.turns.problem}")
    decided = _decide(seen)
    if decided.state is State.SERVED:
        seen = replace(seen, standing=replace(seen.standing, went_back=False))
    return replace(decided, children=(*_standing(seen), *decided.children))


def _decide(seen: Seen) -> Plan:
    later = None if seen.followed else LOOK_AT_UNFOLLOWED
    if seen.source_problem:
        return Plan(
            State.BAD_SOURCES, Reason.SOURCES_INVALID, seen.source_problem, keep=left.of_all(seen), look_after=later
        )
    for one in (seen.embedder, seen.questions, seen.reranker):
        if isinstance(one, Missing):
            reason = Reason.REFERENCE_NOT_READY if one.exists else Reason.REFERENCE_MISSING
            return Plan(
                State.WAITING, reason, one.sentence, keep=left.of_all(seen), look_after=later or LOOK_AT_RUNNING
            )
    work = seen.work
    assert work is not None  # each of its parts was asked for above
    if not seen.index.spec.refresh.on_source_change:
        work = _with_old_sources(seen, work)
    if strays := left.astray(seen, work.parts.key):
        return _doubted(seen, work, strays)
    asked = seen.index.spec.rollout.approve_above
    if asked and asked.cost and seen.pricing is None:
        service = f"{seen.index.metadata.namespace}/{seen.index.spec.embedding.service_ref.name}"
        told = (
            f"approveAbove.cost needs prices: write spec.pricing in LLMService {service}, or passages instead of cost"
        )
        return Plan(
            State.WAITING, Reason.INVALID_SPEC, f"spec.rollout.{told}", keep=left.of_all(seen), look_after=later
        )
    wanted = _with_work(seen, work)
    return replace(wanted, look_after=wanted.look_after or later) if _settled(seen, work) else wanted


def _doubted(seen: Seen, work: Work, strays: list[Run]) -> Plan:
    """What is not wanted goes, and every outcome with it: whatever is wanted is done again and points the alias, which
    costs a measurement where the collection is still there."""
    run = seen.run(work.parts.key)
    going = any(one.goes_on for one in strays)
    told = (
        "stopping the build of what is no longer wanted"
        if going
        else "another build may have moved the alias: looking at what is there"
    )
    keep = left.of_wanted(seen, run) if run and run.outcome is None and not going else ()  # one writer at a time
    return Plan(State.BUILDING, Reason.BUILDING, told, keep=keep, work=work, look_after=STOPPING)


def _with_old_sources(seen: Seen, work: Work) -> Work:
    """onSourceChange false: when nothing but the sources' contents has changed, what is served is what is wanted."""
    memory = (seen.index.status.memory if seen.index.status else None) or {}
    old = {one["name"]: one["sha256"] for one in memory.get("sources") or []}
    sources = tuple(one if one.kind else replace(one, sha256=old.get(one.name, one.sha256)) for one in work.sources)
    pinned = replace(work, sources=sources)
    return pinned if seen.served is not None and seen.served.collection == pinned.parts.collection else work


def _settled(seen: Seen, work: Work) -> bool:
    run = seen.run(work.parts.key)
    return run is not None and any(one is not None for one in (run.outcome, run.failure, run.waiting))


def _with_work(seen: Seen, work: Work) -> Plan:
    key = work.parts.key
    run = seen.run(key) or Run(key, None, None)
    if run.outcome is not None:
        return _finished(seen, work, run, run.outcome)
    if _starved(seen, work, run):
        told = f"begins again: it needed more memory than {run.memory}"
        return Plan(
            State.BUILDING, Reason.BUILDING, told, keep=left.of_served(seen, run), work=work, look_after=STOPPING
        )
    if run.failure is not None and run.told not in (None, children.told(seen.index, work)):
        told = "begins again: it is told something else than when it failed"  # perhaps after it moved the alias
        return Plan(State.BUILDING, Reason.BUILDING, told, work=work, look_after=STOPPING)
    if run.failure is not None:
        return _failed(seen, work, run, run.failure)
    if run.waiting is not None and run.ended:
        return _waiting(seen, work, run, run.waiting)
    if run.ended:  # somebody deleted its outcome: the Job goes, and what it may have moved is measured again
        return Plan(State.BUILDING, Reason.BUILDING, "beginning again: the outcome is gone", work=work,
                    look_after=STOPPING)  # fmt: skip
    return _build(seen, work, run)


def _waiting(seen: Seen, work: Work, run: Run, estimate: Estimate) -> Plan:
    """A Job has read the sources and counted; it begins again when it is approved, or when the limits are raised."""
    if not estimate.above(work.ask_above):
        return Plan(State.BUILDING, Reason.BUILDING, "approved: it begins", keep=left.of_served(seen, run), work=work,
                    look_after=STOPPING)  # fmt: skip
    told = (
        f"{_estimated(seen, estimate)}, more than spec.rollout.approveAbove allows: {_command(seen, 'approve')} "
        f"(annotation {names.APPROVE}: {work.short}), or raise it"
    )
    return Plan(
        State.AWAITING_APPROVAL, Reason.AWAITING_APPROVAL, told, keep=left.of_both(seen, run.key), work=work, run=run
    )


def _estimated(seen: Seen, estimate: Estimate) -> str:
    memory = (seen.index.status.memory if seen.index.status else None) or {}
    return estimate.told(float(memory.get("pace") or 0), seen.pricing)


def _failed(seen: Seen, work: Work, run: Run, failure: str) -> Plan:
    name, keep = children.job_name(seen.index, work), left.of_both(seen, run.key)
    if name not in seen.out_of_memory:
        told = f"Job {name}: {failure}; when that is mended: {retry(seen)}"
        return Plan(State.FAILED, Reason.BUILD_FAILED, told, keep=keep, work=work, run=run)
    told = f"Job {name} needed more memory than {run.memory}: raise spec.build.memory, and it goes on"
    return Plan(State.FAILED, Reason.OUT_OF_MEMORY, told, keep=keep, work=work, run=run)


def retry(seen: Seen) -> str:
    """How a person has a Job look again."""
    return f"{_command(seen, 'retry')} (annotation {names.RETRY})"


def _command(seen: Seen, verb: str) -> str:
    meta = seen.index.metadata
    return f"llmops {verb} vi {meta.name} -n {meta.namespace}"


def _starved(seen: Seen, work: Work, run: Run) -> bool:
    """Whether its Job ran out of memory and may have another amount by now: then it begins again, where it was."""
    may = seen.index.spec.build.memory
    return (
        children.job_name(seen.index, work) in seen.out_of_memory
        and run.memory is not None
        and quantity(run.memory) != quantity(may)
    )


def _finished(seen: Seen, work: Work, run: Run, outcome: Outcome) -> Plan:
    if outcome.served:  # what served before is forgotten: its outcome says nothing of where the alias is by now
        sentence = told_served(outcome.generation, outcome.rows)
        keep = left.of_wanted(seen, run)
        return Plan(State.SERVED, Reason.AS_WANTED, sentence, keep=keep, work=work, run=run)
    sentence = f"generation {outcome.generation} is not served: {outcome.failed}"
    if outcome.generation == seen.active:
        sentence = f"the new search parameters or gates are not taken: {outcome.failed}"
    keep = left.of_both(seen, run.key)
    return Plan(State.REJECTED, Reason.GATES_FAILED, sentence, keep=keep, work=work, run=run)


def told_served(generation: int | None, rows: int | None) -> str:
    """All is as wanted."""
    return f"generation {generation} with {rows} passages is served"


def _build(seen: Seen, work: Work, run: Run) -> Plan:
    keep = left.of_both(seen, run.key)
    was = {*seen.were_served, seen.served.key if seen.served else ""}  # the latter of an operator of before
    if seen.index.spec.suspend and not {work.timeless, work.parts.key} & was:  # going back is nothing new
        keep = left.of_both(seen, run.key, stopped={run.key})  # rows that are there are gone on with later
        return Plan(State.WAITING, Reason.SUSPENDED, "spec.suspend is true: nothing new is built", keep=keep, work=work)
    if run.job is None and seen.engine_waits is not None:
        reason, sentence = engine_told(seen, seen.engine_waits)
        return Plan(State.STARTING, reason, sentence, keep=keep, work=work, look_after=LOOK_AT_RUNNING)
    if run.job is None and seen.building:
        return Plan(State.BUILDING, Reason.BUILDING, "an earlier build is coming to its end", keep=keep, work=work,
                    look_after=STOPPING)  # fmt: skip
    action = cheapest(seen.served, work.parts)
    work = replace(work, copy_vectors=isinstance(action, Rebuild) and action.copy_vectors)
    begun = [*children.build_rights(seen.index, work, seen.pinned)]
    questions = seen.questions if isinstance(seen.questions, list) else []
    given = children.build_input(seen.index, work, questions)
    if run.job is None:
        begun += [given, children.build_job(seen.index, work, given["metadata"]["name"], seen.settings)]
    elif run.input == given["metadata"]["name"]:  # as its Job began, that of an earlier one may just have been deleted
        begun.append(given)
    return Plan(
        State.BUILDING, Reason.BUILDING, _told(seen, action, run), keep=keep, work=work, run=run,
        children=tuple(begun), look_after=LOOK_AT_RUNNING,
    )  # fmt: skip


def engine_told(seen: Seen, waits: Waits) -> tuple[Reason, str]:
    """Why nothing is built yet; a pod of ours that does not start says it better than that it has not started."""
    return waits.reason, (seen.trouble if waits == STARTING else None) or waits.sentence


def not_installed(wanted: Plan, waits: Waits) -> Plan:
    """The API server knows no kind of what the engine is made of: it is asked again, and all else stays as it is."""
    return replace(
        wanted, state=State.WAITING, reason=waits.reason, sentence=waits.sentence, look_after=LOOK_AT_RUNNING
    )


def _told(seen: Seen, action: Action, run: Run) -> str:
    if seen.trouble:
        return seen.trouble
    if run.job is not None and run.job["metadata"]["name"] in seen.out_of_memory:
        return f"it needed more memory than {run.memory} and is tried again: raise spec.build.memory"
    with suppress(KeyError, TypeError):  # of another version, which tells other things
        if progress := _progress(seen, run.progress):
            return progress
    if seen.standing.went_back:
        return "the vector database went back to what it was: looking at what is missing"
    if seen.index.spec.suspend:
        return "going back to what was served before"
    if seen.standing.emptied and seen.served is not None:
        return "the vector database's volume is an empty one: everything is built anew"
    if isinstance(action, Rebuild):
        if action.copy_vectors and any(one.kind for one in seen.sources):
            return "looking at the sources; what is new in them is embedded"
        how = "copying the vectors of unchanged passages" if action.copy_vectors else "embedding every passage"
        return f"building a new generation, {how}"
    return "measuring what is built"


def _progress(seen: Seen, told: Mapping[str, Any]) -> str | None:
    match told.get("stage"):
        case "Embedding":
            new = f"; {_estimated(seen, Estimate(**told['estimate']))}" if told.get("estimate") else ""
            return f"embedding passages for generation {told['generation']}: {told['done']} of {told['total']}{new}"
        case "Indexing":  # minutes, for a hundred thousand passages
            return f"the vector database indexes the {told['total']} passages of generation {told['generation']}"
        case "Measuring":
            return f"measuring generation {told['generation']}"
    return None


def _standing(seen: Seen) -> list[Object]:
    """The engine and the query server: there whatever the build does."""
    engine = ENGINES[seen.index.spec.engine.type, seen.index.spec.engine.mode]
    built = engine.children(seen.index, seen.settings, seen.standing)
    address = engine.address(seen.index, seen.settings)
    return [*built, *children.build_server(seen.index, address, seen.settings, seen.through_door)]


def unsupported(seen: Seen) -> str | None:
    """What this version cannot do, named; nothing is ignored in silence."""
    spec = seen.index.spec
    told = unavailable(seen.index)
    if told:
        return told
    if len({gate.eval_job_ref.name for gate in spec.rollout.gates if gate.eval_job_ref}) > 1:
        return "Retrieval gates of several EvalJobs are not available yet: let all refer to one"
    return None
