"""Who sets the number of replicas, and the HorizontalPodAutoscaler that does where the spec asks for one. Pure.

by: Operator is our own loop (autoscale.py); by: HPA is an object of Kubernetes' that we make, by: KEDA one of KEDA's
(keda.py), which makes a HorizontalPodAutoscaler of its own. The count has one
writer. With server-side apply a field that its only owner leaves out falls back to its default: a Deployment of five
would shrink to one pod at the moment it is handed over. So until that autoscaler has moved the count it is carried as
it is, and SENT notes what we carried; once it differs, the field is another's (an update by another manager takes the
field), and from then on it is left out.
"""

from __future__ import annotations

from typing import Any

from llmops.api.llmservice import LLMService, LLMServiceSpec
from llmops.kube.resources import Resource
from llmops.serving import keda
from llmops.serving.autoscale import Advice, advise
from llmops.serving.engines import ENGINES
from llmops.serving.observe import Seen

Object = dict[str, Any]

SENT = "llmops.dev/replicas-sent"
HANDED_OVER = "none"
FROM_GATEWAYS = ("Concurrency", "TokensPerSecond")  # what our own loop need not ask the pods for
PERCENT = ("KVCache",)  # the target is in percent, and engines tell a fraction of 1


def unsupported(seen: Seen) -> str | None:
    """The fields of spec.autoscaling that this version cannot do, or None."""
    asked = seen.service.spec.autoscaling
    if asked is None:
        return None
    engine, metric = ENGINES.get(seen.engine.type), asked.metric.type
    ours = () if asked.by == "HPA" else (*FROM_GATEWAYS, "Prometheus")
    if engine is not None and metric not in engine.metrics and metric not in ours:
        return f"spec.autoscaling.metric.type {metric} by {asked.by} with {seen.engine.type}"
    return None


def asks_prometheus(seen: Seen) -> bool:
    """Whether somebody has to know where it is."""
    asked = seen.service.spec.autoscaling
    return asked is not None and (asked.by == "KEDA" or asked.metric.type == "Prometheus")


def by_keda(service: LLMService) -> bool:
    return service.spec.autoscaling is not None and service.spec.autoscaling.by == "KEDA"


def advice(seen: Seen) -> Advice | None:
    """What our own loop says, where it scales."""
    asked = seen.service.spec.autoscaling
    if asked is None or seen.load is None:
        return None
    live = live_count(seen)
    if live is None:
        count = min(max(seen.service.spec.replicas, asked.min), asked.max)
        return Advice(count, "spec.replicas, to begin with", seen.kept)
    return advise(asked, live, seen.load, seen.kept)


def sleeps(spec: LLMServiceSpec) -> bool:
    """Whether no pod at all is as it should be, now and then."""
    return spec.autoscaling is not None and spec.autoscaling.min == 0


def handed(deployment: Object, seen: Seen, advised: Advice | None) -> Object:
    """The Deployment with the count that is ours to send, or without one where the autoscaler has it."""
    if seen.service.spec.autoscaling is None:
        return deployment
    count = advised.count if advised else count_to_send(seen)
    spec = {key: value for key, value in deployment["spec"].items() if key != "replicas"}
    note = HANDED_OVER if count is None else str(count)
    scaler = {keda.SCALER: "KEDA"} if seen.service.spec.autoscaling.by == "KEDA" else {}
    metadata = {**deployment["metadata"], "annotations": {SENT: note, **scaler}}
    return {**deployment, "metadata": metadata, "spec": spec if count is None else {**spec, "replicas": count}}


def count_to_send(seen: Seen) -> int | None:
    """None: an autoscaler owns the count. A HorizontalPodAutoscaler is off while that is 0: it never begins there."""
    asked = seen.service.spec.autoscaling
    assert asked is not None
    live = live_count(seen)
    if live is None:
        return min(max(seen.service.spec.replicas, asked.min), asked.max)
    note = (((seen.workload or {}).get("metadata") or {}).get("annotations") or {}).get(SENT)
    if note is not None and note != str(live):
        return None
    return live or asked.min


def live_count(seen: Seen) -> int | None:
    """How many pods the Deployment is told to have now; None if there is no Deployment."""
    found = ((seen.workload or {}).get("spec") or {}).get("replicas")
    return None if found is None else int(found)


def wanted_count(seen: Seen) -> int:
    """How many pods there should be: the spec's, or what the autoscaler last said."""
    live = live_count(seen) if seen.service.spec.autoscaling else None
    return seen.service.spec.replicas if live is None else live


def build_autoscaler(seen: Seen, of: Resource) -> tuple[Object, ...]:
    """`of` has the pods. With the defaults of Kubernetes: up at once, down by the highest advice of the last 300 s."""
    asked = seen.service.spec.autoscaling
    if asked is None or asked.by == "Operator":
        return ()
    if asked.by == "KEDA":
        return (keda.build_scaled_object(seen, of),)
    name = ENGINES[seen.engine.type].metrics[asked.metric.type]
    target = f"{asked.metric.target * 10}m" if asked.metric.type in PERCENT else str(asked.metric.target)
    average = {"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": target}}
    built = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": seen.home},
        "spec": {
            "scaleTargetRef": {"apiVersion": of.api_version, "kind": of.kind, "name": seen.home},
            "minReplicas": asked.min,
            "maxReplicas": asked.max,
            "metrics": [{"type": "Pods", "pods": average}],
        },
    }
    return (built,)
