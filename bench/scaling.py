"""A simulated day of traffic: our loop against the fixed threshold that a HorizontalPodAutoscaler keeps.

Each policy is run with several targets; what counts is how many accelerator hours it needs for the same 95th
percentile of the time that requests wait in the queue. The day: little at night, two peaks, five sudden bursts, one
request in fifty twenty times as long. A pod runs SLOTS requests at a time and is ready so many seconds (start) after it
was asked for. The rule of a HorizontalPodAutoscaler is the published one (kubernetes.io, "Horizontal Pod Autoscaling",
algorithm details): ceil(total / target) every 15 s, 10% tolerance, at most doubling (or four more) in 15 s, down by
the highest of the last 300 s. Time is simulated; nothing here is measured by a clock.
"""

from __future__ import annotations

import heapq
import json
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from llmops.api.llmservice import Autoscaling
from llmops.serving.autoscale import Kept, Load, advise

DAY, SLOTS, MOST = 86_400, 8, 40
STARTS = (30, 120)  # seconds until a pod is ready: a small model, a large one
SEEDS = (1, 2, 3)
WAITS = (2.0, 5.0, 15.0)  # seconds at the 95th percentile that somebody may want to hold


@dataclass
class Pods:
    """What a policy sees and moves."""

    start: int
    now: int = 0
    live: int = 2
    starting: list[int] = field(default_factory=list)  # when each will be ready
    running: int = 0
    waiting: int = 0

    @property
    def ready(self) -> int:
        return self.live - len(self.starting)


Policy = Callable[[Pods], int]


def ours(target: int) -> Policy:
    """by: Operator, metric QueueDepth."""
    asked = Autoscaling.model_validate({"min": 1, "max": MOST, "metric": {"target": target}})
    kept = Kept()

    def decide(pods: Pods) -> int:
        nonlocal kept
        load = Load(ready=pods.ready, held=0, running=pods.running, waiting=pods.waiting, at=float(pods.now),
                    start=float(pods.start))  # fmt: skip
        advice = advise(asked, pods.live, load, kept)
        kept = advice.kept
        return advice.count

    return decide


def threshold(target: float, of: Callable[[Pods], int]) -> Policy:
    """A HorizontalPodAutoscaler on an average of the pods."""
    advised: deque[tuple[int, int]] = deque()

    def decide(pods: Pods) -> int:
        if pods.now % 15:
            return pods.live
        share = of(pods) / target / pods.live
        wanted = pods.live if abs(share - 1) <= 0.1 else math.ceil(share * pods.live)
        advised.append((pods.now, min(max(wanted, 1), MOST)))
        while advised[0][0] < pods.now - 300:
            advised.popleft()
        if advised[-1][1] > pods.live:
            return min(advised[-1][1], max(pods.live * 2, pods.live + 4))
        return min(pods.live, max(count for _, count in advised))

    return decide


def rate(second: int) -> float:
    """Requests a second, without the bursts."""
    hour = second / 3600
    return 0.4 + 4.0 * math.exp(-((hour - 10.5) ** 2) / 5) + 3.2 * math.exp(-((hour - 15.5) ** 2) / 6)


def day(policy: Policy, start: int, seed: int) -> tuple[float, float]:
    """(accelerator hours, 95th percentile of seconds in the queue)."""
    chance = random.Random(seed)
    bursts = [(begin, begin + 420) for begin in (chance.randrange(DAY) for _ in range(5))]
    pods, queue, ends, waits, seconds = Pods(start), deque[int](), list[float](), list[int](), 0
    for pods.now in range(DAY):
        now, burst = pods.now, any(begin <= pods.now < end for begin, end in bursts)
        queue.extend([now] * _poisson(chance, rate(now) + (4.0 if burst else 0.0)))
        while ends and ends[0] <= now:
            heapq.heappop(ends)
        pods.starting = [at for at in pods.starting if at > now]
        while queue and len(ends) < pods.ready * SLOTS:
            waits.append(now - queue.popleft())
            heapq.heappush(ends, now + chance.expovariate(1 / 5.0) * (20 if chance.random() < 0.02 else 1))
        pods.running, pods.waiting = len(ends), len(queue)
        seconds += pods.live
        if now % 5 == 0:
            _scale(pods, policy(pods))
    return seconds / 3600, sorted(waits)[int(len(waits) * 0.95)]


def _scale(pods: Pods, count: int) -> None:
    """Pods that go finish what they run: their slots are taken from the free ones first, as a drain does."""
    if count > pods.live:
        pods.starting += [pods.now + pods.start] * (count - pods.live)
    elif count < pods.live:
        pods.starting = sorted(pods.starting)[: max(0, len(pods.starting) - (pods.live - count))]
    pods.live = count


def _poisson(chance: random.Random, mean: float) -> int:
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def policies() -> dict[str, dict[float, Callable[[], Policy]]]:
    return {
        "ours, QueueDepth": {t: partial(ours, t) for t in (1, 2, 4, 8, 16)},
        "fixed threshold on requests waiting": {
            t: partial(threshold, t, lambda pods: pods.waiting) for t in (0.5, 1, 2, 4, 8, 16, 32)
        },
        "fixed threshold on requests at a time": {
            t: partial(threshold, t, lambda pods: pods.running + pods.waiting)
            for t in (3, 4, 5, 6, 7, 8, 8.5, 9, 10, 12)
        },
    }


def main() -> None:
    for start in STARTS:
        found: dict[str, list[tuple[float, float, float]]] = {}
        for name, targets in policies().items():
            for target, make in targets.items():
                runs = [day(make(), start, seed) for seed in SEEDS]
                hours, wait = (sum(column) / len(runs) for column in zip(*runs, strict=True))
                found.setdefault(name, []).append((hours, wait, target))
                _print(policy=name, start_s=start, target=target, accelerator_hours=round(hours, 1),
                       p95_wait_s=round(wait, 1), days=len(runs))  # fmt: skip
        for most in WAITS:
            best = {name: min((one for one in runs if one[1] <= most), default=None) for name, runs in found.items()}
            _print(least_hours_at_p95_wait_s=most, start_s=start,
                   **{name: one and f"{one[0]:.1f} (target {one[2]:g})" for name, one in best.items()})  # fmt: skip


def _print(**figure: object) -> None:
    print(json.dumps({"bench": "scaling", **figure}), flush=True)


if __name__ == "__main__":
    main()
