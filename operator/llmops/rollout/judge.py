"""The questions asked at every look while users meet the candidate, or it answers unseen, in this order; the first
that answers decides.

Aborting and reverting come before them (machine.py), then: is it harmful, is the split broken, is there evidence at
all, do the gateways follow, is it shown to be no worse, is it overdue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from llmops.api import Reason
from llmops.api.quantities import seconds
from llmops.rollout import evidence
from llmops.rollout.case import Advance, Case, Hold, RollBack, Stay, Verdict
from llmops.rollout.ledger import JUDGE, Shares
from llmops.rollout.state import Candidate
from llmops.rollout.world import World, behind, named

CREDIT = 30.0
"""The longest silence that still counts as time with evidence, in seconds; more than the ten between status writes."""
NO_EVIDENCE_AFTER = 300.0
BEHIND_AFTER = 60.0


def tick(candidate: Candidate, world: World) -> Candidate:
    """Count the time in which evidence came: a silence for half a minute at most, a clock set back for nothing."""
    latest = min(world.tally.latest, world.now)
    if candidate.evidence_at > world.now:
        return replace(candidate, evidence_at=world.now)
    if latest <= candidate.evidence_at:
        return candidate
    credit = min(latest - candidate.evidence_at, CREDIT)
    return replace(candidate, active=candidate.active + credit, evidence_at=latest)


def judge(case: Case) -> Verdict:
    """The first question that answers; suspended, only harm is acted upon and nothing advances."""
    for ask in QUESTIONS[case.home]:
        verdict = ask(case)
        if isinstance(verdict, Advance) and case.wanted.suspend:
            return Stay(Reason.SUSPENDED, f"suspended: it would go on now ({verdict.message})")
        if verdict is not None:
            return verdict
    return Stay(Reason.SHADOWING if case.home == "Shadow" else Reason.GATHERING_EVIDENCE, waiting(case))


def harmful(case: Case) -> Verdict | None:
    """Enough evidence that it is worse than stable, for any signal."""
    limit = rollback_at(case)
    for name in case.candidate.frozen.voting:
        counts = case.world.tally.signal(name)
        e = evidence.harm(counts.compared)
        if e >= math.log(limit):
            told = f"{name}: {fared(case, name)}; evidence {evidence.text(e)} against {limit:g}"
            return RollBack(Reason.CANDIDATE_WORSE, told)
    return None


def rollback_at(case: Case) -> float:
    """The e-value that decides; the same for every signal, those that only hold among them."""
    frozen = case.candidate.frozen
    return evidence.rollback_at(len(frozen.signals), frozen.false_positive_rate)


def doubtful(case: Case) -> Verdict | None:
    """A signal that counts requests, not users, speaks against it: that may be one user, so a person looks."""
    for name in case.candidate.frozen.doubts:
        counts = case.world.tally.signal(name)
        e, failed, units = evidence.harm(counts.compared), counts.failures, case.world.tally.units(name)
        if e >= math.log(rollback_at(case)):
            return Hold(
                Reason.SIGNAL_DOUBTFUL,
                f"{name} counts {failed[1]} failures of {units[1]} with the candidate, {failed[0]} of {units[0]} with "
                f"stable (evidence {evidence.text(e)} against {rollback_at(case):g}), and not by users, so a person "
                f"decides: {how_to_approve(case.candidate)}",
            )
    return None


def fared(case: Case, signal: str) -> str:
    """How both did, in numbers."""
    tally, counts = case.world.tally, case.world.tally.signal(signal)
    (stable, candidate), (n, x) = counts.failures, counts.differed
    of_stable, of_candidate = tally.units(signal)
    met = f"{candidate} of {of_candidate} users failed with the candidate, {stable} of {of_stable} with stable"
    unseen = f"of {tally.pairs} users answered by both, unseen, only the candidate's answer failed for {x}, only "
    unseen += f"stable's for {n - x}"
    return unseen if case.home == "Shadow" else f"{met}; {unseen}" if n else met


def harmful_in_bake(case: Case) -> Verdict | None:
    """At 100% nobody is left to compare with: against the most that stable can have failed."""
    frozen = case.candidate.frozen
    limit = rollback_at(case)
    for name, upper in case.candidate.bake:
        if name in frozen.doubts:
            continue
        failed, units = case.world.tally.signal(name).baked
        worst = evidence.bake_limit(upper, frozen.ratio, frozen.points)
        e = evidence.bake_harm(failed, units, worst)
        if e is not None and e >= math.log(limit):
            return RollBack(
                Reason.CANDIDATE_WORSE,
                f"{name}: {failed} of {units} new users failed at 100%, where at most {worst:.1%} is acceptable; "
                f"evidence {evidence.text(e)} against {limit:g}",
            )
    return None


def split_broken(case: Case) -> Verdict | None:
    """Units must arrive in the published proportion, or splitting or counting is broken."""
    tally, latched = case.world.tally, case.candidate.hold == Reason.SAMPLE_RATIO_MISMATCH
    judged = tally.signal(JUDGE).shares or ()
    if judged and _disproportion(judged) >= math.log(evidence.MISMATCH_AT):
        return Hold(
            Reason.SAMPLE_RATIO_MISMATCH,
            f"{_met(judged)} users whose answers were judged met the candidate, which is not the published share of "
            f"{case.candidate.weight}%: the judge does not answer alike for both versions, see "
            "llmops_gateway_judged_total, then retry or abort",
        )
    if _disproportion(tally.shares) < math.log(evidence.MISMATCH_AT) and not latched:
        return None
    return Hold(
        Reason.SAMPLE_RATIO_MISMATCH,
        f"{_met(tally.shares)} users met the candidate, "
        f"which is not the published share of {case.candidate.weight}%: look for a cache or proxy before the gateway "
        "that drops the user's header, then retry or abort",
    )


def _disproportion(shares: Sequence[Shares]) -> float:
    return evidence.sample_ratio([(one.weight / 100, one.units, one.candidate) for one in shares])


def _met(shares: Sequence[Shares]) -> str:
    counted = [one for one in shares if 0 < one.weight < 100]
    return f"{sum(one.candidate for one in counted)} of {sum(one.units for one in counted)}"


def no_evidence(case: Case) -> Verdict | None:
    """Silence is neither success nor failure."""
    silent = case.world.now - case.candidate.evidence_at
    if silent <= NO_EVIDENCE_AFTER:
        return None
    return Hold(Reason.NO_EVIDENCE, f"no new user was seen for {silent:.0f} s: it goes on when users come, or approved")


def gateways_behind(case: Case) -> Verdict | None:
    """What is not served cannot be judged."""
    late = behind(case.candidate, case.world)
    if not late:
        return None
    sentence = f"{', '.join(late[:3])} not yet at {case.candidate.weight}%"
    # with none at all, or one that never spoke (an operator or a gateway that just started), a moment decides nothing
    told = bool(case.world.gateways) and all(one.at is not None for one in case.world.gateways)
    if told and case.world.now - case.candidate.since > BEHIND_AFTER:
        return Hold(Reason.GATEWAYS_BEHIND, f"{sentence}: look at the gateways' logs; it goes on when they follow")
    return Stay(Reason.GATEWAYS_BEHIND, sentence)


def approved(case: Case) -> Verdict | None:
    """A person takes the decision where evidence cannot."""
    if case.candidate.hold and named(case.world.approve, case.candidate, case.place):
        return Advance(Reason.APPROVED, "approved")
    return None


def not_worse(case: Case) -> Verdict | None:
    """Every signal within the margin, and enough users and time."""
    if unmet(case):
        return None
    if case.step.pause == "Approval" and not named(case.world.approve, case.candidate, case.candidate.step):
        return Hold(Reason.AWAITING_APPROVAL, f"no worse at {case.candidate.weight}%: {how_to_approve(case.candidate)}")
    return Advance(Reason.NO_WORSE, "every signal is within the margin")


def overdue(case: Case) -> Verdict | None:
    """Neither harm nor harmlessness was shown in maxDuration."""
    if case.candidate.active < seconds(case.step.max_duration):
        return None
    return _undecided(case, f"undecided after maxDuration {case.step.max_duration}")


def _undecided(case: Case, sentence: str) -> Verdict:
    choice = case.wanted.rollout.on_inconclusive
    if choice == "Rollback":
        return RollBack(Reason.INCONCLUSIVE, f"{sentence}, and onInconclusive is Rollback")
    if choice == "Promote" and nothing_against(case):
        return Advance(Reason.INCONCLUSIVE, f"{sentence}; nothing speaks against it, and onInconclusive is Promote")
    told = f"{sentence}: {waiting(case)}; {how_to_approve(case.candidate, case.place)}"
    return Hold(Reason.INCONCLUSIVE, told)


def nothing_against(case: Case) -> bool:
    """Unseen, where Feedback cannot be had and failures are few, no pair that speaks against it is enough."""
    tally = case.world.tally
    harm = [evidence.harm(tally.signal(name).compared) for name in case.candidate.frozen.signals]
    if case.home == "Shadow":
        return tally.pairs > 0 and all(one <= 0 for one in harm)
    return all(one < 0 for one in harm)


def compared(case: Case) -> Verdict | None:
    """Enough pairs, and none of the questions before found harm in them."""
    shadow, pairs = case.wanted.rollout.shadow, case.world.tally.pairs
    if shadow is None:
        return Advance(Reason.NO_WORSE, "rollout.shadow was taken out")
    if pairs < shadow.min_samples:
        return None
    return Advance(Reason.NO_WORSE, f"nothing speaks against it in its answers to {pairs} users, unseen")


def unanswered(case: Case) -> Verdict | None:
    """Too few pairs in all that time. It is the time on the clock: where nobody asks, no evidence comes either."""
    shadow = case.wanted.rollout.shadow
    if shadow is None or case.world.now - case.candidate.since < seconds(shadow.timeout):
        return None
    return _undecided(case, f"too few pairs after shadow.timeout {shadow.timeout}")


def blind(case: Case) -> Verdict | None:
    """The margin leaves no failure rate that would be too high. Of a rollback by hand nothing was seen of stable as a
    rule, and a person has decided already: it is watched for what can be told, and for the time."""
    if case.candidate.by_hand:
        return None
    frozen, known = case.candidate.frozen, dict(case.candidate.bake)
    for name in frozen.voting:
        limit = evidence.bake_limit(known.get(name, 1.0), frozen.ratio, frozen.points)
        if evidence.bake_harm(0, 0, limit) is None:
            return Hold(
                Reason.NOTHING_TO_COMPARE,
                f"{name}: too little was seen of stable to tell what would be too much at 100%; "
                f"{how_to_approve(case.candidate)}",
            )
    return None


def baked(case: Case) -> Verdict | None:
    """Watched for long enough."""
    if case.candidate.active < seconds(case.wanted.rollout.bake):
        return None
    return Advance(Reason.RELEASED, f"nothing spoke against it in {case.wanted.rollout.bake} at 100%")


Check = Callable[[Case], Verdict | None]
CANARY: tuple[Check, ...] = (
    harmful,
    split_broken,
    approved,
    doubtful,
    no_evidence,
    gateways_behind,
    not_worse,
    overdue,
)
BAKING: tuple[Check, ...] = (
    harmful,
    harmful_in_bake,
    split_broken,
    approved,
    doubtful,
    no_evidence,
    gateways_behind,
    blind,
    baked,
)


QUESTIONS: Mapping[str, tuple[Check, ...]] = {
    "Shadow": (harmful, approved, compared, unanswered),
    "Canary": CANARY,
    "Baking": BAKING,
}


def how_to_approve(candidate: Candidate, place: int | str | None = None) -> str:
    """The way out that is a person's."""
    place = candidate.step if place is None else place
    return f"approve with llmops.dev/approve: {candidate.digest}/{candidate.attempt}/{place}, or abort"


def unmet(case: Case) -> list[str]:
    """What is missing for the next step, in words."""
    candidate, tally, step = case.candidate, case.world.tally, case.step
    missing = []
    if (met := tally.met(candidate.weight)) < step.min_units:
        missing.append(f"{met} of {step.min_units} users")
    if candidate.active < seconds(step.min_duration):
        missing.append(f"{candidate.active:.0f} s of {step.min_duration}")
    needed = evidence.advance_at(candidate.frozen.false_advance_rate)
    for name in candidate.frozen.voting:
        shown = shown_no_worse(case, name)
        if shown < math.log(needed):
            missing.append(f"{name} {evidence.text(shown)} of {needed:g}")
    return missing


def shown_no_worse(case: Case, signal: str) -> float:
    """log evidence that the candidate is within the margin of the next weight."""
    frozen = case.candidate.frozen
    counts = case.world.tally.signal(signal).by_weight
    return evidence.no_worse(counts, frozen.ratio, frozen.points, case.next_weight / 100)


def waiting(case: Case) -> str:
    """What it waits for."""
    if case.home == "Shadow":
        shadow = case.wanted.rollout.shadow
        return f"answering unseen: {case.world.tally.pairs} of {shadow.min_samples if shadow else 0} users compared"
    if case.baking:
        watched = f"watched at 100%: {case.candidate.active:.0f} s of {case.wanted.rollout.bake}"
        return f"rolled back by hand to {case.candidate.version}, {watched}" if case.candidate.by_hand else watched
    return f"at {case.candidate.weight}%, waiting for " + ", ".join(unmet(case))
