"""A schedule's turns: which one the present run belongs to, whether a new one is due, and when the next comes. Pure.

The next time is promised in status before it comes, and a turn begins only when a promise is kept: so a time
that passed while no operator ran is made up once, however many passed, and a schedule that is new or was changed never
begins with a time of before. The turn is part of the key of what is to be done; that is how an unchanged evaluation
runs again, and an index's sources are read again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from llmops.api import cron


@dataclass(frozen=True)
class Turns:
    """`now` is the turn of the present run, empty before the first; `due` the one that is to begin."""

    now: str = ""
    due: str = ""
    next: datetime | None = None
    skipped: str = ""
    problem: str = ""

    def begin(self) -> Turns:
        """The due turn is the present one."""
        return replace(self, now=self.due, due="")

    def skip(self) -> Turns:
        """The due turn is left out, since the run before it is still going."""
        return replace(self, due="", skipped=self.due)


def turns(schedule: str | None, suspended: bool, last: str, promised: str, now: datetime) -> Turns:
    """By what the status said: the `last` turn that began, and the `promised` one; "" for none. While suspended nothing
    is promised, so nothing is made up afterwards."""
    if schedule is None:  # taken away: the last run stays the present one
        return Turns(last)
    try:
        times = cron.parse(schedule)
    except ValueError as error:
        return Turns(last, problem=f"schedule: {error}")
    if suspended:
        return Turns(last)
    kept = promised and read(promised) <= now and times.has(read(promised))
    return Turns(last, promised if kept else "", times.after(now))


def write(moment: datetime) -> str:
    """As statuses have times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> datetime:
    """What `write` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
