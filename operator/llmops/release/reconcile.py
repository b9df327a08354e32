"""The story of a release's turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from llmops import control
from llmops.api import names
from llmops.control import Clock, Key, LookAgain, evidence
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB, LLM_SERVICE, PROMPT_RELEASE, REVISION, VECTOR_INDEX
from llmops.release.observe import Seen, config_map_name, observe
from llmops.release.plan import Plan, plan
from llmops.release.status import status
from llmops.rollout.machine import look
from llmops.rollout.tell import due
from llmops.rollout.world import Outcome
from llmops.telemetry import rollouts


async def reconcile(key: Key, cluster: Cluster, clock: Clock) -> LookAgain:
    """Observe, look, report, apply. The status first: what it does not say yet must not happen."""
    now = clock.now()
    seen = await observe(key, cluster, now)
    if seen is None:
        rollouts.show(PROMPT_RELEASE.kind, names.qualified(key.namespace, key.name), None)
        return LookAgain.never()
    outcome = look(seen.state, seen.wanted, seen.world)
    told, generation = status(seen, outcome, now), seen.release.metadata.generation
    rollouts.show(PROMPT_RELEASE.kind, seen.release.qualified, told)
    if due(seen.raw.get("status") or {}, told, generation, now):
        await cluster.report(seen.raw, told)
    for event in outcome.events:
        await cluster.event(seen.raw, event.reason, event.message, "Warning" if event.warning else "Normal")
    wanted = plan(seen, outcome)
    await cluster.apply(wanted.children, owner=seen.raw)
    await _clean(seen, wanted, cluster)
    await _save(seen, outcome, cluster, now.timestamp())
    return LookAgain.never() if wanted.look_after is None else LookAgain.after(wanted.look_after)


async def _clean(seen: Seen, wanted: Plan, cluster: Cluster) -> None:
    for name in wanted.old_revisions:
        await cluster.delete(REVISION, seen.namespace, name)
    for name in wanted.old_jobs:
        await cluster.delete(EVAL_JOB, seen.namespace, name)


async def _save(seen: Seen, outcome: Outcome, cluster: Cluster, now: float) -> None:
    """The evidence, so that it survives even a restart of everything."""
    if seen.kept is not None and evidence.due(seen.kept, now, outcome.moved):
        await cluster.apply([evidence.build_config_map(config_map_name(seen.name), seen.kept, now)], owner=seen.raw)


def _by_service(service: dict[str, Any], cluster: Cluster) -> Iterable[Key]:
    """Releases that run on this service, or are judged by it."""
    return _that(service, cluster, _services)


def _by_index(index: dict[str, Any], cluster: Cluster) -> Iterable[Key]:
    """Releases that retrieve from this index."""
    return _that(index, cluster, lambda spec: [(spec.get("indexRef") or {}).get("name")])


def _services(spec: dict[str, Any]) -> list[str | None]:
    online = (spec.get("rollout") or {}).get("online") or []
    return [(one.get("serviceRef") or {}).get("name") for one in (spec, *online)]


def _that(
    other: dict[str, Any], cluster: Cluster, named: Callable[[dict[str, Any]], list[str | None]]
) -> Iterable[Key]:
    metadata = other["metadata"]
    for one in cluster.list(PROMPT_RELEASE, metadata["namespace"]):
        if metadata["name"] in named(one["spec"]):
            yield _key(one)


def _by_template(job: dict[str, Any], cluster: Cluster) -> Iterable[Key]:
    """Releases whose gates name this EvalJob."""
    metadata = job["metadata"]
    if (metadata.get("labels") or {}).get(names.OWNER_KIND):
        return
    for one in cluster.list(PROMPT_RELEASE, metadata["namespace"]):
        gates = (one["spec"].get("rollout") or {}).get("offline") or []
        if any(gate["evalJobRef"]["name"] == metadata["name"] for gate in gates):
            yield _key(one)


def _key(release: dict[str, Any]) -> Key:
    return Key(PROMPT_RELEASE.kind, release["metadata"]["namespace"], release["metadata"]["name"])


CONTROLLER = control.Controller(
    resource=PROMPT_RELEASE,
    reconcile=reconcile,
    owns=(REVISION, EVAL_JOB, CONFIG_MAP),
    refers=(
        control.Refers(LLM_SERVICE, _by_service),
        control.Refers(VECTOR_INDEX, _by_index),
        control.Refers(EVAL_JOB, _by_template),
    ),
)
