"""spec.autoscaling.by: KEDA: the ScaledObject, and the queries by which KEDA sees the load. Pure.

KEDA asks Prometheus; so Prometheus must scrape the gateways, and the engines' pods where the metric is theirs, with the
usual labels `namespace` and `pod`. From zero it wakes a service by what the gateways hold for it. Until KEDA has moved
the count we carry it, as with a HorizontalPodAutoscaler (scaling.py); SCALER on the Deployment remembers that there is
a ScaledObject to take away when somebody else is to scale. Where revisions are rolled out it follows stable's pods: the
new home gets one of its own when it is stable, and the old home's goes with the old pods, so neither count has two.

Source: https://keda.sh/docs/2.21/reference/scaledobject-spec/ and .../scalers/prometheus/.
"""

from __future__ import annotations

from typing import Any

from llmops.api.llmservice import Autoscaling
from llmops.api.quantities import seconds
from llmops.kube.resources import DEPLOYMENT, LEADER_WORKER_SET, SCALED_OBJECT, Resource
from llmops.serving.autoscale import IDLE_AFTER
from llmops.serving.engines import ENGINES
from llmops.serving.observe import Seen

Object = dict[str, Any]

SCALER = "llmops.dev/scaler"
LOOKS_SECONDS = 5  # between two looks while there is no pod, and somebody may wait
PODS = {DEPLOYMENT: "[a-z0-9]+-[a-z0-9]+", LEADER_WORKER_SET: "[0-9]+"}  # what pods are called; of groups, leaders
MISSING = (
    "KEDA is not installed in this cluster (there is no kind ScaledObject of keda.sh/v1alpha1): install it, or write "
    "spec.autoscaling.by: Operator"
)


def build_scaled_object(seen: Seen, of: Resource) -> Object:
    """Two triggers where the metric says nothing of a service without pods: the second only wakes it."""
    asked = seen.service.spec.autoscaling
    assert asked is not None
    wakes = [_trigger(seen, held(seen), asked.metric.target)] if _blind_at_zero(asked) else []
    return {
        "apiVersion": SCALED_OBJECT.api_version,
        "kind": SCALED_OBJECT.kind,
        "metadata": {"name": seen.home},
        "spec": {
            "scaleTargetRef": {"apiVersion": of.api_version, "kind": of.kind, "name": seen.home},
            "minReplicaCount": asked.min,
            "maxReplicaCount": asked.max,
            "pollingInterval": LOOKS_SECONDS,
            "cooldownPeriod": int(seconds(asked.idle_after or IDLE_AFTER)),
            "triggers": [_trigger(seen, query(seen, of), asked.metric.target), *wakes],
        },
    }


def query(seen: Seen, of: Resource) -> str:
    """PromQL that gives one number: the metric summed over all pods."""
    asked = seen.service.spec.autoscaling
    assert asked is not None
    metric, served = asked.metric, _served(seen)
    match metric.type:
        case "Prometheus":
            return str(metric.query)
        case "Concurrency":
            return f'sum(llmops_gateway_service_requests{{service="{served}"}})'
        case "TokensPerSecond":
            return f'sum(rate(llmops_gateway_tokens_total{{service="{served}",direction="out"}}[1m]))'
        case "QueueDepth":
            return f"(sum({_gauge(seen, of, metric.type)}) or vector(0)) + ({held(seen)} or vector(0))"
        case _:
            return f"100 * sum({_gauge(seen, of, metric.type)})"


def held(seen: Seen) -> str:
    """Requests that wait at the gateways for a first pod."""
    return f'sum(llmops_gateway_service_requests{{service="{_served(seen)}",state="held"}})'


def _blind_at_zero(asked: Autoscaling) -> bool:
    return asked.min == 0 and asked.metric.type in ("KVCache", "TokensPerSecond", "Prometheus")


def _gauge(seen: Seen, of: Resource, metric: str) -> str:
    """Of the pods in this home alone: another revision's has a name that begins like it and goes on."""
    name, pods = ENGINES[seen.engine.type].metrics[metric], PODS[of]
    return f'{name}{{namespace="{seen.service.metadata.namespace}",pod=~"{seen.home}-{pods}"}}'


def _served(seen: Seen) -> str:
    return f"{seen.service.metadata.namespace}/{seen.service.metadata.name}"


def _trigger(seen: Seen, query: str, target: int) -> Object:
    told = {"serverAddress": seen.settings.prometheus_url, "query": query, "threshold": str(target)}
    return {"type": "prometheus", "metricType": "AverageValue", "metadata": told}
