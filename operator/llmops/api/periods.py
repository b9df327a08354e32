"""The periods of budgets: when one began, when it ends. The gateway and the operator must agree on them."""

from __future__ import annotations

from datetime import datetime, timedelta


def period(length: str, now: datetime) -> tuple[datetime, datetime]:
    """Beginning and end of the Day, Week or Month around `now` (UTC): midnight, Monday, the first of the month."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if length == "Day":
        return day, day + timedelta(days=1)
    if length == "Week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    first = day.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)
