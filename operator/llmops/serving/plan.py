"""What should be: an observation in, the children and what stands in the way out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmops.api.reasons import Reason
from llmops.serving import children, merge, revision
from llmops.serving.engines import ENGINES
from llmops.serving.observe import Seen
from llmops.serving.sources import WORKS, Source, source

Object = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Why the service cannot go on by itself; `waits` when time, not a person, will mend it."""

    reason: Reason
    message: str
    waits: bool = False


@dataclass(frozen=True)
class Plan:
    """`children` are applied, the rest of ours pruned (unless there is a problem: then what runs is left alone)."""

    children: tuple[Object, ...] = ()
    problem: Problem | None = None
    fetching: bool = False
    accelerators: int = 0
    explanation: str = ""


def plan(seen: Seen) -> Plan:
    found = _problem(seen)
    if found is not None:
        return Plan(problem=found)
    where = source(seen.service, f"{seen.child}-models")
    assert where is not None
    accelerators, explanation = _accelerators(seen)
    kept = (_revision(seen), children.build_service(seen), children.build_network_policy(seen))
    cache = _cache(seen, where)
    fetching = bool(cache) and not _succeeded(seen.fetch)
    # while another model downloads, the old pods go on: the Deployment changes when the new weights are there
    pods = () if fetching else (_deployment(seen, where, accelerators), children.build_disruption_budget(seen))
    return Plan((*kept, *cache, *pods), None, fetching, accelerators, explanation)


def _problem(seen: Seen) -> Problem | None:
    for check in (_external, _not_yet, _license, _template, _claim):
        found = check(seen)
        if found is not None:
            return found
    return None


def _external(seen: Seen) -> Problem | None:
    if seen.service.spec.external is None:
        return None
    return Problem(Reason.UNSUPPORTED, "spec.external is not available in this version: serve a model with spec.model")


def _not_yet(seen: Seen) -> Problem | None:
    spec = seen.service.spec
    assert spec.model is not None
    assert spec.engine is not None
    scheme = spec.model.uri.split(":", 1)[0]
    asked = {
        f"spec.engine.type {spec.engine.type}": spec.engine.type not in ENGINES,
        f"spec.model.uri {scheme}://": scheme not in WORKS,
        "spec.autoscaling": spec.autoscaling is not None,
        "spec.rollout": spec.rollout is not None,
        "spec.model.adapters": bool(spec.model.adapters),
        "spec.model.task Rerank": spec.model.task == "Rerank",
    }
    missing = [what for what, it_is in asked.items() if it_is]
    if not missing:
        return None
    return Problem(
        Reason.UNSUPPORTED,
        f"{' and '.join(missing)}: not available in this version, which has engines {' and '.join(sorted(ENGINES))}, "
        f"models from {', '.join(f'{one}://' for one in WORKS)}, and fixed replicas",
    )


def _license(seen: Seen) -> Problem | None:
    license_ = seen.service.spec.model.license  # type: ignore[union-attr]
    if license_ is None or license_.accepted:
        return None
    return Problem(
        Reason.LICENSE_NOT_ACCEPTED,
        f"the licence {license_.id} was not accepted: read it, then set spec.model.license.accepted: true",
    )


def _template(seen: Seen) -> Problem | None:
    found = merge.problem(seen.service.spec.pod_template or {})
    return Problem(Reason.INVALID_SPEC, found) if found else None


def _claim(seen: Seen) -> Problem | None:
    uri = seen.service.spec.model.uri  # type: ignore[union-attr]
    if not uri.startswith("pvc://") or seen.claim is not None:
        return None
    name = uri.removeprefix("pvc://").split("/", 1)[0]
    return Problem(
        Reason.REFERENCE_MISSING, f"there is no PersistentVolumeClaim {name} in this namespace: create it", waits=True
    )


def _accelerators(seen: Seen) -> tuple[int, str]:
    asked = seen.service.spec.accelerator
    if asked is None:
        return 0, "no accelerator was asked for: the engine runs on CPUs"
    if isinstance(asked.count, int):
        return asked.count, f"{asked.count} {asked.resource} a replica, as spec.accelerator.count says"
    return 1, f"1 {asked.resource} a replica: Auto does not look at the model yet, so write count where one is too few"


def _revision(seen: Seen) -> Object:
    """As it was made: its content is immutable, so the existing one is repeated and only its label can change."""
    if seen.revision is None:
        return revision.build(seen.service, seen.settings)
    fresh = revision.build(seen.service, seen.settings)
    return {**fresh, "spec": seen.revision["spec"]}


def image(seen: Seen) -> str:
    """Frozen in the Revision since it exists."""
    if seen.revision is not None:
        return str(seen.revision["spec"]["content"]["engine"]["image"])
    return revision.default_image(seen.service, seen.settings)


def _cache(seen: Seen, where: Source) -> tuple[Object, ...]:
    if not where.shared:
        return ()
    return children.build_claim(seen), children.build_fetch_job(seen, where)


def _deployment(seen: Seen, where: Source, accelerators: int) -> Object:
    deployment = children.build_deployment(seen, image(seen), where, accelerators)
    template = seen.service.spec.pod_template
    if template:
        deployment["spec"]["template"] = merge.merged(deployment["spec"]["template"], template)
    return deployment


def _succeeded(job: Object | None) -> bool:
    return bool(job and (job.get("status") or {}).get("succeeded"))
