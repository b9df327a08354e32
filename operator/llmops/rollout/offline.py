"""The evaluations of a candidate: an EvalJob for each template that its gates name; what they say together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from llmops.api import EvalJob, names
from llmops.api.rollout import OfflineGate
from llmops.rollout.state import State
from llmops.rollout.world import Offline

Object = dict[str, Any]
Asked = tuple[str, str | None]
"""The name of a template, and of the adapter that is asked."""
Target = Callable[[str, str | None], Object]
"""From a digest, and an adapter's name, to the spec.target that asks this content."""


def applicable(gates: Sequence[OfflineGate], state: State) -> dict[Asked, list[OfflineGate]]:
    """The gates by what they ask. A first release has nothing to be worse than: only its absolute bounds count."""
    found: dict[Asked, list[OfflineGate]] = {}
    for gate in gates:
        if gate.max_drop is None or state.stable is not None:
            found.setdefault((gate.eval_job_ref.name, gate.adapter), []).append(gate)
    return found


def job_name(parent: str, state: State, place: int) -> str:
    """`<parent>-eval-<digest8>-<attempt>`; a second template and a repetition after errors have names of their own."""
    moving = state.candidate
    assert moving is not None
    second = f"-{place + 1}" if place else ""
    again = f"-r{moving.tries}" if moving.tries else ""
    return f"{parent}-eval-{moving.digest[:8]}-{moving.attempt}{second}{again}"


def build_jobs(
    parent: str,
    target: Target,
    gates: Sequence[OfflineGate],
    state: State,
    templates: Mapping[str, Object],
    over: bool,
) -> list[Object]:
    """The EvalJobs; `over` once their verdict was acted upon: then nothing that changes later runs them again."""
    by_template = applicable(gates, state)
    return [
        build_job(
            job_name(parent, state, place), partial(_through, target, adapter), state, templates[name], chosen, over
        )
        for place, ((name, adapter), chosen) in enumerate(by_template.items())
        if name in templates
    ]


def _through(target: Target, adapter: str | None, digest: str) -> Object:
    return target(digest, adapter)


def build_job(
    name: str, target: Callable[[str], Object], state: State, template: Object, gates: Sequence[OfflineGate], over: bool
) -> Object:
    """The template with the candidate as its target and the gates as its thresholds."""
    moving, stable = state.candidate, state.stable
    assert moving is not None
    spec = {key: value for key, value in template["spec"].items() if key not in ("schedule", "baseline", "thresholds")}
    spec["target"] = target(moving.digest)
    if stable is not None:
        spec["baseline"] = target(stable.digest)
    spec["thresholds"] = [_threshold(gate) for gate in gates]
    spec["suspend"] = over
    return {
        "apiVersion": names.API_VERSION,
        "kind": EvalJob.KIND,
        "metadata": {"name": name},
        "spec": spec,
    }


def jobs_now(
    parent: str, target: Target, gates: Sequence[OfflineGate], state: State, templates: Mapping[str, Object],
    existing: Mapping[str, Object],
) -> list[Object]:  # fmt: skip
    """The candidate's evaluations, from Evaluating on; suspended once acted upon, so that nothing runs them again."""
    if state.candidate is None or state.phase in ("Pending", "Validating"):
        return []
    over = not (state.phase == "Evaluating" or state.held_from == "Evaluating")
    jobs = build_jobs(parent, target, gates, state, templates, over)
    return [_existing(one, existing) for one in jobs if one["metadata"]["name"] in existing] if over else jobs


def _existing(job: Object, existing: Mapping[str, Object]) -> Object:
    """With its uid an apply can only change it: one that somebody deletes in this very moment is not made anew."""
    metadata = job["metadata"]
    return {**job, "metadata": {**metadata, "uid": existing[metadata["name"]]["metadata"]["uid"]}}


def old_jobs(parent: str, existing: Mapping[str, Object], kept: set[str], known: set[str]) -> tuple[str, ...]:
    """Evaluations of contents that are gone, and those of others that still run; finished ones stay to be read.

    `known` has the first eight digits of the digests that there are Revisions of.
    """
    prefix = f"{parent}-eval-"
    return tuple(
        name
        for name, job in existing.items()
        if name not in kept and name.startswith(prefix) and (name[len(prefix) :][:8] not in known or not _ended(job))
    )


def _ended(job: Object) -> bool:
    return (job.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _threshold(gate: OfflineGate) -> dict[str, Any]:
    bounds = {"min": gate.min, "max": gate.max, "maxDrop": gate.max_drop}
    wanted = {name: value for name, value in bounds.items() if value is not None}
    against = {"against": "Baseline"} if gate.max_drop is not None else {}
    return {"metric": gate.metric, "confidence": gate.confidence, **wanted, **against}


def verdict(parent: str, gates: Sequence[OfflineGate], state: State, jobs: Mapping[str, Object]) -> Offline:
    """All of them together: a failure decides at once, everything else when all have ended."""
    by_template = applicable(gates, state)
    if state.candidate is None or not by_template:
        return Offline()
    told = [_one(jobs.get(job_name(parent, state, place))) for place in range(len(by_template))]
    score = next((one.score for one in told if one.score), None)
    for word in ("Fail", None, "Error", "Inconclusive", "Pass"):
        saying = [one for one in told if one.verdict == word]
        if saying:
            return Offline(word, "; ".join(one.message for one in saying), score)
    raise AssertionError("a verdict without a word")


def _one(job: Object | None) -> Offline:
    if job is None:
        return Offline(None, "its evaluation is about to start")
    parsed = EvalJob.parse(job)
    name, status = parsed.metadata.name, parsed.status
    if status is None or status.observed_generation != parsed.metadata.generation:
        return Offline(None, f"EvalJob {name} is about to start")
    ready = status.condition("Ready")
    says = f"EvalJob {name}: {ready.message}" if ready and ready.message else f"EvalJob {name}"
    first = status.metrics[0] if status.metrics else None
    score = f"{first.name} {first.value}" if first and first.value is not None else None
    if status.phase == "Failed":
        return Offline("Error", says, score)
    if status.phase != "Succeeded" or status.verdict is None:
        return Offline(None, says, score)
    return Offline(status.verdict, says, score)
