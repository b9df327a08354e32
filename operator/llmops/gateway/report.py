"""What the operator is told (llmops.api.report): units and their first failures, what is served, what was spent.

Everything of the running attempts is kept, so that any leader can ask from the beginning; a bounded amount, beyond
which nothing more is recorded for either variant (the evidence then stands still, and the rollout holds for want of
more). One sequence numbers units and changes of the snapshot, so that a poll is answered as soon as there is
something new.
"""

from __future__ import annotations

import asyncio
import bisect
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmops.api.report import MAX_UNITS, MAX_WAIT_SECONDS, Load, Poll, Report, Serving, Spend, Unit
from llmops.gateway.choose import Share
from llmops.gateway.snapshot import Snapshot
from llmops.rollout.ledger import JUDGE
from llmops.telemetry import metrics

TOGETHER = 0.1
"""Seconds that news wait for company: under load a poll would otherwise end with every single request."""

Variant = Literal["stable", "candidate"]
Kind = Literal["pair", "judged"]


@dataclass(slots=True)
class _Attempt:
    """What was seen of one attempt: (unit, the signal or the variant that it met), and pairs by a name of their own."""

    digest: str
    number: int
    seen: set[tuple[str, str]] = field(default_factory=set)


class Ledger:
    """The evidence of this process, by release."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._attempts: dict[str, _Attempt] = {}
        self._sequence: list[int] = []
        self._units: list[Unit] = []
        self.cursor = 0
        self._waiting: set[asyncio.Future[float]] = set()  # of how long news wait for company
        self._serving: dict[str, Serving] = {}

    def exposed(self, release: str, variant: Variant, share: Share) -> None:
        """A unit was answered."""
        self._record(release, variant, share, None)

    def failed(self, release: str, variant: Variant, share: Share, signal: str) -> None:
        """A unit's answer failed a signal. (For Errors the failure is what it was served: record its exposure too.)"""
        self._record(release, variant, share, signal)

    def judged(self, release: str, variant: Variant, share: Share, failed: bool) -> None:
        """A judge read an answer that the unit got."""
        self._record(release, variant, share, JUDGE, "judged")
        if failed:
            self._record(release, variant, share, JUDGE)

    def was_judged(self, release: str, variant: str, share: Share) -> bool:
        """Whether an answer of this variant to the unit was, in this attempt."""
        attempt = self._attempts.get(release)
        return attempt is not None and (share.unit, f"judged {variant}") in attempt.seen

    def paired(self, release: str, share: Share, stable: Sequence[str], candidate: Sequence[str]) -> None:
        """A unit's answer was compared with one that nobody saw; by the signals that each of the two failed."""
        self._record(release, "candidate", share, None, "pair")
        for signal in sorted(set(stable) ^ set(candidate)):
            self._record(release, "candidate" if signal in candidate else "stable", share, signal, "pair")

    def running(self, release: str) -> tuple[str, int] | None:
        """Digest and number of the attempt that feedback may count for."""
        found = self._attempts.get(release)
        return (found.digest, found.number) if found else None

    def follow(self, snapshot: Snapshot) -> None:
        """A new snapshot: attempts that ended are forgotten, new ones begin, polls are answered."""
        serving = snapshot.rollouts()
        if serving == self._serving:
            return
        self._serving = serving
        ended = []
        for name, now in serving.items():
            known = self._attempts.get(name)
            current = (now["candidate"], now["attempt"])
            if known is not None and (known.digest, known.number) != current:
                ended.append(name)
        ended += [name for name in self._attempts if name not in serving]
        if ended:
            self._forget(set(ended))
        for name, now in serving.items():
            if now["candidate"] and (now["weight"] or now.get("shadow")) and name not in self._attempts:
                self._attempts[name] = _Attempt(now["candidate"], now["attempt"])
        self._news()

    async def since(self, poll: Poll, instance: str) -> int:
        """The cursor to answer from, once there is something after it or `wait` has passed."""
        cursor = poll["cursor"] if poll["instance"] == instance else 0
        cursor = min(cursor, self.cursor)
        if cursor == self.cursor and poll["wait"] > 0:
            await self._wait(min(poll["wait"], MAX_WAIT_SECONDS))
        return cursor

    def units(self, cursor: int) -> list[Unit]:
        """What came after `cursor`."""
        return self._units[bisect.bisect_right(self._sequence, cursor) :]

    def _record(
        self, release: str, variant: Variant, share: Share, signal: str | None, kind: Kind | None = None
    ) -> None:
        attempt = self._attempts.get(release)
        if attempt is None or attempt.digest != share.digest or attempt.number != share.attempt:
            return
        named = {"pair": f"pair {signal}", "judged": f"judged {variant}", None: signal or f"met {variant}"}
        what = share.unit, named[kind]  # a rising weight lets a unit meet the candidate too
        if what in attempt.seen:
            return
        if len(self._units) >= MAX_UNITS:
            metrics.GATEWAY_UNITS_DROPPED.inc()
            return
        attempt.seen.add(what)
        self._news()
        self._sequence.append(self.cursor)
        self._units.append(
            Unit(
                release=release,
                digest=share.digest,
                attempt=share.attempt,
                unit=share.unit,
                variant=variant,
                weight=share.weight,
                at=self._clock(),
                kind=kind or ("failure" if signal else "exposure"),
                signal=signal,
            )
        )

    def _forget(self, releases: set[str]) -> None:
        for name in releases:
            del self._attempts[name]
        kept = [
            (number, unit)
            for number, unit in zip(self._sequence, self._units, strict=True)
            if unit["release"] not in releases
        ]
        self._sequence, self._units = [number for number, _ in kept], [unit for _, unit in kept]

    def urgent(self) -> None:
        """Answer polls at once: somebody waits for what the operator will do."""
        self._news(together=0.0)

    def _news(self, together: float = TOGETHER) -> None:
        self.cursor += 1
        for one in self._waiting:
            if not one.done():
                one.set_result(together)
        self._waiting.clear()

    async def _wait(self, seconds: float) -> None:
        news: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.add(news)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(await news)
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(news)


def new_instance() -> str:
    """Names this process, so that the operator knows a restart."""
    return secrets.token_hex(8)


def report(
    ledger: Ledger,
    snapshot: Snapshot,
    serving: Mapping[str, Serving],
    cursor: int,
    instance: str,
    pod: str,
    spend: list[Spend],
    load: dict[str, Load],
    providers: dict[str, bool],
) -> Report:
    """The reply."""
    return Report(
        instance=instance,
        pod=pod,
        cursor=ledger.cursor,
        serving=dict(serving),
        services={name: len(one.endpoints) for name, one in snapshot.services.items()},
        load=load,
        providers=providers,
        units=ledger.units(cursor),
        spend=spend,
    )
