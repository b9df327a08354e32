"""look(state, wanted, world): one look, at most one transition.

    Pending -> Validating -> Evaluating -> Shadow -> Canary -> Baking -> Released
                   \\             \\          \\         \\         /
                    +-------------+----------+---- RollingBack -> Rejected
    Holding: from Evaluating, Shadow, Canary or Baking, and back

Every way out of users' sight goes through RollingBack, which waits until every gateway has confirmed weight 0; the
candidate's `ending` says what follows. A candidate that nobody meets ends at once. A rollback by hand (hand.py)
goes from wherever it is to Baking, with all users.
"""

from __future__ import annotations

from dataclasses import replace

from llmops.api import Reason
from llmops.api.rollout import HistoryEntry, RejectedStatus
from llmops.rollout import evidence, hand
from llmops.rollout.case import Advance, Case, Hold, RollBack
from llmops.rollout.judge import how_to_approve, judge, tick
from llmops.rollout.state import MAX_HISTORY, Candidate, Ending, Stable, State, freeze, stamp
from llmops.rollout.world import Event, Outcome, Wanted, World, named, withdrawn_everywhere

MAX_TRIES = 3
"""Evaluations of one attempt that may end in errors."""
MAX_REJECTED = 50
REASONS = {str(one): one for one in Reason}


def look(state: State, wanted: Wanted, world: World) -> Outcome:
    """What follows from what is so."""
    if state.phase is None:
        return _first_sight(wanted, world)
    passed_over = hand.passed_over(state, wanted, world)
    if passed_over is not None:
        return _moved(hand.handled(state, world, ignored=True), Reason.ROLLBACK_IGNORED, passed_over, warning=True)
    if state.phase == "RollingBack":
        return _roll_back(state, wanted, world)
    decided = _person(state, wanted, world) or _another(state, wanted, world)
    if decided is not None:
        return decided
    if state.candidate is None:
        return _at_rest(state, wanted, world)
    if state.phase == "Rejected":
        return _rejected(state, state.candidate)
    if state.candidate.weight > 0:
        return _with_users(state, state.candidate, wanted, world)
    return _before_users(state, state.candidate, wanted, world)


# --- beginnings


def _first_sight(wanted: Wanted, world: World) -> Outcome:
    """New, or restored from a backup that has lost the status: then its Revisions' labels tell."""
    stable = [digest for digest, (state, _) in world.revisions.items() if state == "stable"]
    rejected = tuple(
        RejectedStatus(digest=digest, version=version, attempt=1, reason="Restored", at=stamp(world.now))
        for digest, (state, version) in world.revisions.items()
        if state == "rejected"
    )
    fresh = State("Pending", rejected=rejected)
    if len(stable) == 1:
        kept = Stable(stable[0], world.revisions[stable[0]][1], world.now)
        return _another(replace(fresh, stable=kept), wanted, world) or _at_rest(
            replace(fresh, phase="Released", stable=kept), wanted, world, moved=True
        )
    started = _start(fresh, wanted, world)
    if any(state in ("retired", "stable", "") for state, _ in world.revisions.values()):
        return _hold(started.state, Hold(Reason.STABLE_UNKNOWN, _stable_unknown(started.state)), "Evaluating")
    return started


def _stable_unknown(state: State) -> str:
    approve = how_to_approve(state.candidate) if state.candidate else ""
    return (
        "its status was lost, and not exactly one of its Revisions is labelled llmops.dev/state: stable: label the one "
        f"that users should get and delete the status again, or {approve} to release the spec's content without one"
    )


def _start(state: State, wanted: Wanted, world: World, attempt: int | None = None) -> Outcome:
    """A new attempt at a new content; its evidence starts from nothing."""
    number = attempt or state.tried(wanted.digest) + 1
    candidate = Candidate(
        wanted.digest, wanted.version, number, freeze(wanted.rollout), since=world.now, evidence_at=world.now
    )
    entered = replace(state, phase="Pending", held_from=None, candidate=candidate)
    message = f"version {wanted.version} ({wanted.digest[:10]}), attempt {number}"
    return _moved(entered, Reason.CANDIDATE_FOUND, message)


def _another(state: State, wanted: Wanted, world: World) -> Outcome | None:
    """The spec says something else than what is on its way: another content, or stable's own again."""
    moving = state.candidate
    if moving is not None and moving.digest == wanted.digest:
        return None
    back = state.stable is not None and state.stable.digest == wanted.digest
    if moving is None and back:
        return None
    if moving is not None and moving.digest != wanted.digest and state.phase != "Rejected":
        if moving.by_hand and moving.weight == 100 and not back:
            # its users would get what a person took from them, until the next one has shown that it is no worse
            return _release(state, moving, f"the spec now asks for {wanted.version}", world)
        outcome = ("Withdrawn", Reason.WITHDRAWN) if back else ("Superseded", Reason.SUPERSEDED)
        return _end(state, moving, *outcome, f"the spec now asks for {wanted.version}", world)
    if back:
        return _moved(replace(state, phase="Released", candidate=None), Reason.AS_WANTED, _serves(state))
    known = state.rejection(wanted.digest)
    if known is not None:
        candidate = Candidate(wanted.digest, wanted.version, known.attempt or 1, freeze(wanted.rollout))
        return _moved(
            replace(state, phase="Rejected", held_from=None, candidate=replace(candidate, since=world.now)),
            Reason.REJECTED,
            f"{wanted.version} was rejected before: {known.message or known.reason}",
            warning=True,
        )
    waits = wanted.suspend and state.stable and not hand.asked(state, wanted, world)
    return None if waits else _start(state, wanted, world)


def _at_rest(state: State, wanted: Wanted, world: World, moved: bool = False) -> Outcome:
    """No candidate: users get stable."""
    if state.stable is None:
        return _start(state, wanted, world)
    if state.stable.digest != wanted.digest:
        return Outcome(state, Reason.SUSPENDED, f"suspended: {wanted.version} waits, {_serves(state)}")
    label = replace(state.stable, version=wanted.version)  # people may rename a content: its digest is its identity
    return Outcome(replace(state, phase="Released", stable=label), Reason.AS_WANTED, _serves(state), moved=moved)


def _serves(state: State) -> str:
    return f"users get {state.stable.version} ({state.stable.digest[:10]})" if state.stable else "nobody is served"


# --- a person's word


def _person(state: State, wanted: Wanted, world: World) -> Outcome | None:
    """Abort and retry; each names the digest and the attempt it speaks of, so an old one does nothing."""
    moving = state.candidate
    if moving is None:
        return None
    if named(world.abort, moving) and state.phase != "Rejected":
        told = replace(state, handled=state.handled.model_copy(update={"abort": world.abort}))
        return _end(told, moving, "Rejected", Reason.ABORTED, "aborted by annotation", world)
    if named(world.retry, moving) and state.phase in ("Rejected", "Holding") and moving.digest == wanted.digest:
        told = replace(state, handled=state.handled.model_copy(update={"retry": world.retry}))
        return _end(told, moving, "Retried", Reason.RETRIED, "tried again by annotation", world)
    return None


# --- before users


def _before_users(state: State, moving: Candidate, wanted: Wanted, world: World) -> Outcome:
    """Pending, Validating, Evaluating, Shadow, and Holding from there."""
    if moving.hold == Reason.STABLE_UNKNOWN:
        return _without_stable(state, moving, world)
    problem = world.problem
    if problem is not None and problem.final:
        return _end(state, moving, "Rejected", problem.reason, problem.message, world)
    by_hand = hand.asked(state, wanted, world)
    if problem is not None and not (by_hand and problem.gated):
        return Outcome(replace(state, phase="Pending", held_from=None), problem.reason, problem.message)
    if by_hand and not state.in_shadow:
        return _by_hand(state, moving, wanted, world)
    if state.phase == "Pending":
        return _moved(replace(state, phase="Validating"), Reason.IN_PROGRESS, "everything it refers to is there")
    if state.phase == "Validating":
        return _moved(replace(state, phase="Evaluating"), Reason.EVALUATING, "its templates and variables make sense")
    if state.in_shadow:
        return _answering(state, moving, wanted, world, "Shadow")
    return _evaluating(replace(state, candidate=replace(moving, score=world.offline.score)), wanted, world)


def _without_stable(state: State, moving: Candidate, world: World) -> Outcome:
    if named(world.approve, moving, moving.step):
        told = state.handled.model_copy(update={"approve": world.approve})
        entered = replace(state, phase="Pending", held_from=None, candidate=replace(moving, hold=None), handled=told)
        return _moved(entered, Reason.APPROVED, "approved to be released without a stable one")
    return Outcome(state, Reason.STABLE_UNKNOWN, _stable_unknown(state))


def _evaluating(state: State, wanted: Wanted, world: World) -> Outcome:
    """The evaluations' verdict decides whether users may meet it. Not before its content is frozen: were the operator
    killed in between and the spec changed, nobody could know any more what users were to get."""
    moving, offline = state.candidate, world.offline
    assert moving is not None
    if not world.frozen:
        return Outcome(state, Reason.EVALUATING, "its content is about to be frozen in a Revision")
    if offline.verdict == "Pass":
        return _admit(state, moving, wanted, world, offline.message)
    if offline.verdict == "Fail":
        return _end(state, moving, "Rejected", Reason.EVALUATION_FAILED, offline.message, world)
    if offline.verdict == "Error":
        return _erred(state, moving, offline.message)
    if offline.verdict == "Inconclusive":
        choice = wanted.rollout.on_inconclusive
        if choice == "Promote" or named(world.approve, moving, 0):
            return _admit(state, moving, wanted, world, offline.message)
        if choice == "Rollback":
            return _end(state, moving, "Rejected", Reason.EVALUATION_UNDECIDED, offline.message, world)
        message = f"{offline.message}; {how_to_approve(moving)}"
        return _hold(state, Hold(Reason.EVALUATION_UNDECIDED, message), "Evaluating")
    running = replace(state, phase="Evaluating", held_from=None, candidate=replace(moving, hold=None))
    return Outcome(running, Reason.EVALUATING, offline.message)


def _erred(state: State, moving: Candidate, message: str) -> Outcome:
    """Errors are not wrong answers: tried again, and then a person looks at it."""
    if moving.hold == Reason.EVALUATION_ERRORS or moving.tries + 1 >= MAX_TRIES:
        fix = f"{message}; retry with llmops.dev/retry: {moving.digest}/{moving.attempt}"
        return _hold(state, Hold(Reason.EVALUATION_ERRORS, fix), "Evaluating")
    again = replace(state, candidate=replace(moving, tries=moving.tries + 1))
    return _moved(again, Reason.EVALUATION_ERRORS, f"evaluated again: {message}", warning=True)


def _admit(state: State, moving: Candidate, wanted: Wanted, world: World, why: str) -> Outcome:
    """From the evaluations to users: the first release to all of them, as where they cannot be split; any other to the
    first step's share, after a while unseen where the spec says so."""
    if wanted.suspend:
        return Outcome(state, Reason.SUSPENDED, f"suspended: it would go to users now ({why})")
    if state.stable is None:
        return _release(state, moving, f"first release: {why}", world)
    if wanted.unsplit:
        return _release(state, moving, f"it passed its evaluations, and replaces the one before: {why}", world)
    if wanted.rollout.shadow is not None:
        unseen = replace(state, phase="Shadow", held_from=None, candidate=replace(moving, since=world.now, hold=None))
        told = f"{moving.version} answers {wanted.rollout.shadow.percent}% of users too, unseen ({why})"
        return _moved(unseen, Reason.SHADOWING, told)
    return _advance(state, moving, Advance(Reason.NO_WORSE, why), wanted, world)


# --- with users


def _with_users(state: State, moving: Candidate, wanted: Wanted, world: World) -> Outcome:
    """Canary and Baking, and Holding from there."""
    moving = tick(moving, world)
    home = (state.held_from or "Canary") if state.phase == "Holding" else (state.phase or "Canary")
    return _answering(replace(state, candidate=moving), moving, wanted, world, home)


def _answering(state: State, moving: Candidate, wanted: Wanted, world: World, home: str) -> Outcome:
    """The questions of judge.py, and what follows from their answer."""
    verdict = judge(Case(moving, wanted, world, home))
    if isinstance(verdict, RollBack):
        return _end(state, moving, "Rejected", verdict.reason, verdict.message, world)
    if hand.asked(state, wanted, world):
        return _by_hand(state, moving, wanted, world)
    if isinstance(verdict, Advance):
        return _advance(state, moving, verdict, wanted, world)
    if isinstance(verdict, Hold):
        return _hold(state, verdict, home)
    resumed = replace(state, phase=home, held_from=None, candidate=replace(moving, hold=None))
    if state.phase == "Holding":
        return _moved(resumed, verdict.reason, f"goes on: {verdict.message}")
    return Outcome(resumed, verdict.reason, verdict.message)


def _advance(state: State, moving: Candidate, verdict: Advance, wanted: Wanted, world: World) -> Outcome:
    """The next share of users; after the last step all of them, watched; after that it is stable."""
    if moving.weight == 100:
        return _release(state, moving, verdict.message, world)
    above = [(i, one.weight) for i, one in enumerate(wanted.rollout.steps, 1) if one.weight > moving.weight]
    step, weight = above[0] if above else (len(wanted.rollout.steps) + 1, 100)
    onward = replace(
        moving, step=step, weight=weight, since=world.now, active=0.0, evidence_at=world.now, hold=None,
        bake=moving.bake if above else _bounds(moving, world),
    )  # fmt: skip
    handled = state.handled
    if named(world.approve, moving, "shadow" if state.in_shadow else moving.step):
        handled = handled.model_copy(update={"approve": world.approve})
    entered = replace(state, phase="Canary" if above else "Baking", held_from=None, candidate=onward, handled=handled)
    share = f"step {step}: {weight}% of users" if above else "all users, watched for a while longer"
    return _moved(entered, Reason.STEP_BEGUN, f"{moving.version} goes to {share} ({verdict.message})")


def _by_hand(state: State, moving: Candidate, wanted: Wanted, world: World) -> Outcome:
    """All users at once, and no statistics before. Stable stays what it is until the bake has ended, to return to."""
    onward = replace(moving, by_hand=True, hold=None)
    if moving.weight < 100:
        onward = replace(
            onward, step=len(wanted.rollout.steps) + 1, weight=100, since=world.now, active=0.0,
            evidence_at=world.now, bake=_bounds(moving, world),
        )  # fmt: skip
    entered = replace(hand.handled(state, world), phase="Baking", held_from=None, candidate=onward)
    told = f"rolled back by hand to {moving.version}: all users, watched for a while longer"
    return _moved(entered, Reason.ROLLED_BACK_BY_HAND, told)


def _bounds(moving: Candidate, world: World) -> tuple[tuple[str, float], ...]:
    """What stable's failure rate lies below, by signal: all that is left to compare with at 100%."""
    tally = world.tally
    counted = ((one, tally.signal(one).failures[0], tally.units(one)[0]) for one in moving.frozen.signals)
    return tuple((name, evidence.upper_bound(min(failed, units), units)) for name, failed, units in counted)


def _release(state: State, moving: Candidate, why: str, world: World) -> Outcome:
    """It is stable now."""
    why = f"rolled back by hand; {why}" if moving.by_hand else why
    stable = Stable(moving.digest, moving.version, world.now)
    told = _remember(state, moving, "Released", why, world.now)
    cleared = tuple(one for one in told.rejected if one.digest != moving.digest)
    entered = replace(told, phase="Released", held_from=None, stable=stable, candidate=None, rejected=cleared)
    return _moved(entered, Reason.RELEASED, f"version {moving.version} is stable: {why}")


# --- holding and ending


def _hold(state: State, verdict: Hold, home: str) -> Outcome:
    assert state.candidate is not None
    new = state.candidate.hold != verdict.reason
    held = replace(state, phase="Holding", held_from=home, candidate=replace(state.candidate, hold=str(verdict.reason)))
    events = (Event(verdict.reason, verdict.message, warning=True),) if new else ()
    return Outcome(held, verdict.reason, verdict.message, events, moved=new)


def _end(state: State, moving: Candidate, outcome: str, reason: Reason, message: str, world: World) -> Outcome:
    """Weight 0 first, in the status; what follows waits for the gateways, unless nobody met it."""
    ending = Ending(outcome, str(reason), message, world.now)
    ended = replace(moving, weight=0, hold=None, ending=ending)
    if moving.weight == 0:
        after = _after(replace(state, candidate=ended), ended, ending, world)
        return _moved(after, reason, message, warning=outcome == "Rejected")
    entered = replace(state, phase="RollingBack", held_from=None, candidate=ended)
    return _moved(entered, reason, f"{moving.version} is taken back: {message}", warning=True)


def _roll_back(state: State, wanted: Wanted, world: World) -> Outcome:
    moving = state.candidate
    if moving is None or moving.ending is None:  # edited by hand: nothing is known to go on with
        return _moved(replace(state, phase="Released", candidate=None), Reason.AS_WANTED, _serves(state))
    reason, message = REASONS[moving.ending.reason], moving.ending.message
    if not withdrawn_everywhere(moving, world):
        return Outcome(state, reason, f"waiting until every gateway has confirmed that nobody meets it: {message}")
    after = _after(state, moving, moving.ending, world)
    return Outcome(after, reason, message, moved=True)


def _after(state: State, moving: Candidate, ending: Ending, world: World) -> State:
    """What follows the candidate's end; the spec is looked at anew in the next look."""
    told = _remember(state, moving, ending.outcome, ending.message, world.now)
    others = tuple(one for one in told.rejected if one.digest != moving.digest)
    if ending.outcome == "Rejected":
        entry = RejectedStatus(
            digest=moving.digest, version=moving.version, attempt=moving.attempt, reason=ending.reason,
            message=ending.message[:2000], at=stamp(world.now),
        )  # fmt: skip
        return replace(told, phase="Rejected", held_from=None, rejected=(entry, *others)[:MAX_REJECTED])
    at_rest = replace(told, phase="Released" if told.stable else "Pending", held_from=None, candidate=None)
    return replace(at_rest, rejected=others) if ending.outcome == "Retried" else at_rest


def _rejected(state: State, moving: Candidate) -> Outcome:
    known = state.rejection(moving.digest)
    why = (known.message or known.reason or "") if known else ""
    retry = f"change it, or retry with llmops.dev/retry: {moving.digest}/{moving.attempt}"
    return Outcome(state, Reason.REJECTED, f"{moving.version} was rejected: {why}. {_serves(state)}; {retry}")


def _remember(state: State, moving: Candidate, outcome: str, message: str, now: float) -> State:
    entry = HistoryEntry(
        digest=moving.digest, version=moving.version, attempt=moving.attempt, outcome=outcome,
        message=message[:2000], at=stamp(now),
    )  # fmt: skip
    return replace(state, history=(entry, *state.history)[:MAX_HISTORY])


def _moved(state: State, reason: Reason, message: str, warning: bool = False) -> Outcome:
    return Outcome(state, reason, message, (Event(reason, message, warning),), moved=True)
