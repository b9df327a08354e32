"""How many pods a service needs: from what its pods and the gateways say, to a count with its reason. Pure.

Up at once, down by the highest advice of a window, to zero when nobody asked for spec.autoscaling.idleAfter and
every gateway says so, from zero when a gateway holds a request. What is not known changes nothing. The window is what
a pod too few costs: a few starts, as they were measured; 300 s where none was.

QueueDepth is where a plain threshold fails: a queue that is empty again says nothing of how many pods keep it empty,
so the count falls and the queue returns. Here it is asked how many pods can have the requests at hand: each runs as
many at a time as it was seen to run (all it can, while others wait), and may have `target` waiting besides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from llmops.api.llmservice import Autoscaling
from llmops.api.quantities import seconds

WINDOW = 300.0  # seconds that a higher advice holds at most: what peers and Kubernetes itself have settled on
SHORTEST = 60.0
STARTS = 4.0  # of a window; bench/scaling.py has the figures
TOLERANCE = 0.1  # of a target: so near to it nothing changes, as with a HorizontalPodAutoscaler
IDLE_AFTER = "30m"
RATE_SECONDS = 4.0  # the shortest time that a rate of tokens is counted over


@dataclass(frozen=True)
class Load:
    """What there is to do. Requests: running and waiting at the `ready` pods, held by gateways. `cache` is the sum of
    the pods' shares of the KV cache in percent, `queried` what the query gave, `tokens` those generated so far. None:
    not known."""

    ready: int
    held: int
    running: int | None = None
    waiting: int | None = None
    cache: float | None = None
    queried: float | None = None
    tokens: int | None = None
    idle: float | None = None  # seconds without a request
    start: float | None = None  # seconds that a pod takes to be ready
    at: float = 0.0  # seconds on a clock that never jumps


@dataclass(frozen=True)
class Kept:
    """What one decision leaves for the next; lost with the leader, which costs a window without shrinking."""

    capacity: float | None = None  # requests that a pod runs at a time
    advised: tuple[tuple[float, int], ...] = ()  # when, how many: falling, the oldest highest
    counted: tuple[float, int] | None = None  # when, tokens so far
    rate: float | None = None  # tokens a second


@dataclass(frozen=True)
class Advice:
    """So many pods, and why."""

    count: int
    why: str
    kept: Kept


def advise(asked: Autoscaling, live: int, load: Load, kept: Kept) -> Advice:
    """`live` is how many pods the Deployment is told to have now."""
    kept = _learn(load, kept)
    if live == 0:
        return _woken(asked, load, kept)
    if asked.min == 0 and load.idle is not None and load.idle >= seconds(asked.idle_after or IDLE_AFTER):
        told = f"nobody asked for {asked.idle_after or IDLE_AFTER}"
        return Advice(0, told, replace(kept, advised=()))
    needed, why = _needed(asked, live, load, kept)
    needed = min(max(needed, asked.min, 1), asked.max)
    advised = _newest(kept.advised or ((load.at, live),), needed, load)
    count = needed if needed > live else min(live, max(one for _, one in advised))
    return Advice(min(max(count, asked.min, 1), asked.max), why, replace(kept, advised=advised))


def _woken(asked: Autoscaling, load: Load, kept: Kept) -> Advice:
    """From zero: only for somebody, and then for as many as wait, if it is known how many a pod can have."""
    if not load.held:
        return Advice(asked.min, f"at least {asked.min}" if asked.min else "nobody asks", replace(kept, advised=()))
    many = _share(load.held, kept.capacity + asked.metric.target) if kept.capacity else 1
    count = min(max(many, asked.min, 1), asked.max)
    return Advice(count, f"{load.held} requests wait for a first pod", replace(kept, advised=((load.at, count),)))


def _needed(asked: Autoscaling, live: int, load: Load, kept: Kept) -> tuple[int, str]:
    metric, target = asked.metric.type, asked.metric.target
    if metric == "QueueDepth":
        return _for_queue(live, load, kept, target)
    whole, what = {
        "Concurrency": (None if load.running is None else load.running + load.held, "requests at a time"),
        "KVCache": (load.cache, "percent of KV caches"),
        "TokensPerSecond": (kept.rate, "tokens a second"),
        "Prometheus": (load.queried, "by spec.autoscaling.metric.query"),
    }[metric]
    if whole is None or not load.ready:
        return live, f"how many {what} is not known"
    return _near(whole / target, live), f"{whole:.0f} {what}, {target} a pod"


def _for_queue(live: int, load: Load, kept: Kept, target: int) -> tuple[int, str]:
    if not load.ready or load.waiting is None or load.running is None or kept.capacity is None:
        return live, "no pod says yet how many wait"
    work, each = load.running + load.waiting + load.held, kept.capacity + target
    told = f"{load.running} requests run and {load.waiting + load.held} wait; a pod runs {kept.capacity:.0f}"
    return _near(work / each, live), f"{told} and may have {target} waiting"


def _near(share: float, live: int) -> int:
    """Whole pods, and no change for a trifle."""
    return live if abs(share / live - 1) <= TOLERANCE else _share(share, 1)


def _share(work: float, each: float) -> int:
    return max(1, math.ceil(work / each - 1e-9))


def _learn(load: Load, kept: Kept) -> Kept:
    """While requests wait a pod runs all it can, and that is its capacity now; else it is at least what runs."""
    capacity, counted, rate = kept.capacity, kept.counted, kept.rate
    if load.ready and load.running is not None:
        each = max(1.0, load.running / load.ready)
        capacity = each if load.waiting else max(each, capacity or 0.0)
    if load.tokens is not None:
        since = load.at - counted[0] if counted else 0.0
        if counted is None or load.tokens < counted[1]:
            counted, rate = (load.at, load.tokens), None  # the first count, or a gateway began anew
        elif since >= RATE_SECONDS:
            counted, rate = (load.at, load.tokens), (load.tokens - counted[1]) / since
    return replace(kept, capacity=capacity, counted=counted, rate=rate)


def _newest(advised: tuple[tuple[float, int], ...], needed: int, load: Load) -> tuple[tuple[float, int], ...]:
    """The advice of the last window, without what a newer and higher one covers."""
    window = WINDOW if load.start is None else min(WINDOW, max(SHORTEST, STARTS * load.start))
    kept = ((when, one) for when, one in advised if one > needed and load.at - when < window)
    return (*kept, (load.at, needed))
