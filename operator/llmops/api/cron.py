"""Schedules of five fields in UTC: whether a time is on one, and which comes next. Pure.

    minute 0-59   hour 0-23   day of the month 1-31   month 1-12 or jan-dec   weekday 0-7 or sun-sat (0 and 7: Sunday)

A field is *, a number, a range (1-5, mon-fri), a list of these (1,15), each with a step if need be (*/15, 8-18/2; 5/15
is 5-59/15); ? is *. Where day and weekday are both given, either will do, as in cron: a field that begins with * is not
given. A time in UTC neither comes twice nor is left out, whatever clocks do elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LONGEST = timedelta(days=8 * 366)  # from a leap day to the next over a year like 2100


@dataclass(frozen=True)
class Schedule:
    """Which numbers each field allows. `either`: day and weekday are both given, and one of them is enough."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    def has(self, moment: datetime) -> bool:
        """Whether this minute is on it."""
        return moment.minute in self.minutes and moment.hour in self.hours and self._day(moment.date())

    def after(self, moment: datetime) -> datetime | None:
        """The first of its times later than `moment`; None when no day ever fits, such as the 30th of February."""
        start = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        day, end = start.date(), start.date() + LONGEST
        earliest = (start.hour, start.minute)
        while day <= end:
            if self._day(day) and (found := self._time(earliest)):
                return datetime.combine(day, found, UTC)
            day, earliest = day + timedelta(days=1), (0, 0)
        return None

    def _time(self, earliest: tuple[int, int]) -> time | None:
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                if (hour, minute) >= earliest:
                    return time(hour, minute)
        return None

    def _day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either else of_month and of_week


def parse(text: str) -> Schedule:
    """ValueError says what is wrong with which field."""
    fields = NICKNAMES.get(text, text).split()
    if len(fields) != 5:
        raise ValueError(f'{text!r} has {len(fields)} fields: write minute hour day month weekday, such as "0 3 * * *"')
    minute, hour, day, month, weekday = fields
    parsed = Schedule(
        minutes=_field("minute", minute, 0, 59),
        hours=_field("hour", hour, 0, 23),
        days=_field("day", day, 1, 31),
        months=_field("month", month, 1, 12, MONTHS),
        weekdays=frozenset(one % 7 for one in _field("weekday", weekday, 0, 7, WEEKDAYS)),
        either=not day.startswith(("*", "?")) and not weekday.startswith(("*", "?")),
    )
    if parsed.after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise ValueError(f"{text!r} never comes: no such month has such a day")
    return parsed


def _field(name: str, text: str, low: int, high: int, words: tuple[str, ...] = ()) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        try:
            found.update(_part(part, low, high, words))
        except ValueError:
            hint = f" or {words[0]}-{words[-1]}" if words else ""
            raise ValueError(f"{name} {part!r} is not within {low}-{high}{hint}") from None
    return frozenset(found)


def _part(text: str, low: int, high: int, words: tuple[str, ...]) -> range:
    span, _, step = text.partition("/")
    if span in ("*", "?"):
        first, last = low, high
    elif "-" in span:
        first, last = (_number(one, low, words) for one in span.split("-"))
    else:
        first = _number(span, low, words)
        last = high if step else first
    by = int(step) if "/" in text else 1
    if not low <= first <= last <= high or by < 1:
        raise ValueError
    return range(first, last + 1, by)


def _number(text: str, low: int, words: tuple[str, ...]) -> int:
    return words.index(text.lower()) + low if text.lower() in words else int(text)
