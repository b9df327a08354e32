"""The texts that stand for amounts: durations (`1h30m`), quantities (`40Gi`), decimals (`"0.95"`)."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation

_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d{1,6})(ms|[smhd])")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_SCALE = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3)}
_SCALE |= {unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", start=2)}
_SCALE |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}


def seconds(text: str) -> float:
    """`1h30m` -> 5400.0; ValueError tells what a duration looks like."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: write 500ms, 90s, 30m, 24h or 7d")
    return sum(int(number) * _UNIT[unit] for number, unit in parts)


def duration(text: str) -> timedelta:
    """`1h30m` as a timedelta."""
    return timedelta(seconds=seconds(text))


def quantity(value: str | int) -> Decimal:
    """`40Gi` -> 42949672960, `500m` -> 0.5; ValueError tells what a quantity looks like."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a quantity: write 500m, 2Gi or 40Gi")
    return Decimal(match[1]) * _SCALE[match[2] or ""]


def decimal(text: str | int) -> Decimal:
    """`"0.95"` as an exact number; ValueError tells what a decimal looks like."""
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ValueError(f'{text!r} is not a decimal number: write one such as "0.95"')
    return number
