"""Schedules: the next time, field by field, and what is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from llmops.api.cron import parse


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "now", "following"),
    [
        ("0 3 * * *", "2026-11-25T02:59:59", "2026-11-25T03:00"),
        ("0 3 * * *", "2026-11-25T03:00:00", "2026-11-26T03:00"),  # the time itself is over
        ("* * * * *", "2026-11-25T03:00:30", "2026-11-25T03:01"),
        ("*/15 * * * *", "2026-12-31T23:46", "2027-01-01T00:00"),
        ("*/40 * * * *", "2026-11-25T03:41", "2026-11-25T04:00"),  # a step begins anew with the hour
        ("5/15 * * * *", "2026-11-25T03:21", "2026-11-25T03:35"),
        ("10-20/5,50 8-18/4 * * *", "2026-11-25T08:20", "2026-11-25T08:50"),
        ("10-20/5,50 8-18/4 * * *", "2026-11-25T08:50", "2026-11-25T12:10"),
        ("0 0 31 * *", "2026-04-01T00:00", "2026-05-31T00:00"),  # months without one are left out
        ("0 0 30 * *", "2026-01-31T00:00", "2026-03-30T00:00"),
        ("0 12 29 2 *", "2026-11-25T00:00", "2028-02-29T12:00"),
        ("0 12 29 2 *", "2096-02-29T12:00", "2104-02-29T12:00"),  # 2100 is no leap year
        ("0 0 * * mon-FRI", "2026-11-27T00:00", "2026-11-30T00:00"),  # from a Friday over the weekend
        ("0 0 * * 0", "2026-11-25T00:00", "2026-11-29T00:00"),
        ("0 0 * * 7", "2026-11-25T00:00", "2026-11-29T00:00"),
        ("0 0 * Jan,jul ?", "2026-11-25T00:00", "2027-01-01T00:00"),
        ("0 0 13 * 5", "2026-11-25T00:00", "2026-11-27T00:00"),  # the 13th, or a Friday
        ("0 0 13 * 5", "2026-12-11T00:00", "2026-12-13T00:00"),
        ("0 0 */13 * 5", "2026-11-27T00:00", "2027-01-01T00:00"),  # begins with *: both must fit
        ("0 0 13 * *", "2026-11-25T00:00", "2026-12-13T00:00"),
        ("@hourly", "2026-11-25T03:00", "2026-11-25T04:00"),
        ("@weekly", "2026-11-25T03:00", "2026-11-29T00:00"),
        ("@monthly", "2026-11-25T03:00", "2026-12-01T00:00"),
    ],
)
def test_the_next_time_is_the_first_that_fits(schedule: str, now: str, following: str) -> None:
    found = parse(schedule).after(at(now))
    assert found == at(following)
    assert parse(schedule).has(found)


def test_the_hours_are_those_of_utc_wherever_the_clock_is() -> None:
    berlin = timezone(timedelta(hours=1))
    assert parse("0 3 * * *").after(datetime(2026, 11, 25, 3, 30, tzinfo=berlin)) == at("2026-11-25T03:00")


@pytest.mark.parametrize(
    ("schedule", "moment", "on_it"),
    [
        ("0 3 * * *", "2026-11-25T03:00", True),
        ("0 3 * * *", "2026-11-25T03:01", False),
        ("0 3 13 * 5", "2026-11-27T03:00", True),
        ("0 3 13 * 5", "2026-11-28T03:00", False),
        ("0 3 * 12 *", "2026-11-25T03:00", False),
    ],
)
def test_a_time_is_on_a_schedule_or_not(schedule: str, moment: str, on_it: bool) -> None:
    assert parse(schedule).has(at(moment)) is on_it


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("60 * * * *", "minute '60' is not within 0-59"),
        ("* 24 * * *", "hour '24' is not within 0-23"),
        ("* * 0 * *", "day '0' is not within 1-31"),
        ("* * * 13 *", "month '13' is not within 1-12 or jan-dec"),
        ("* * * * fri-mon", "weekday 'fri-mon' is not within 0-7 or sun-sat"),
        ("* * * * 5#2", "weekday '5#2' is not within 0-7 or sun-sat"),
        ("*/0 * * * *", "minute '*/0' is not within"),
        ("1,,2 * * * *", "minute '' is not within"),
        ("5/ * * * *", "minute '5/' is not within"),
        ("1-2-3 * * * *", "minute '1-2-3' is not within"),
        ("* * * *", "has 4 fields"),
        ("0 0 30 2 *", "'0 0 30 2 *' never comes"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_said_by_its_field(schedule: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(schedule)
