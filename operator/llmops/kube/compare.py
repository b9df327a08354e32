"""Is a live object already what we want? Compared field by field, for only the fields that we set.

The server adds defaults and rewrites quantities ("1000m" becomes "1"), so equality will not do. A field that we set
once and now leave out is not seen here: the digest of what was applied, kept as an annotation, tells that.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_SUFFIX = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTP]?|[KMGTP]i)")


def already(wanted: Any, live: Any) -> bool:
    """True if every field of `wanted` is in `live` with an equal value; empty and absent are the same."""
    if isinstance(wanted, dict):
        return (_empty(wanted) and live in (None, {})) or (
            isinstance(live, dict) and all(already(value, live.get(key)) for key, value in wanted.items())
        )
    if isinstance(wanted, list):
        live = live or []
        return isinstance(live, list) and len(wanted) == len(live) and all(map(already, wanted, live))
    if wanted == live or (_empty(wanted) and _empty(live)):
        return True
    return _same_quantity(wanted, live)


def _empty(value: Any) -> bool:
    return value is None or value is False or value in ("", {}, [])


def _same_quantity(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    first, second = _QUANTITY.fullmatch(str(one)), _QUANTITY.fullmatch(str(other))
    if first is None or second is None:
        return False
    try:
        return Decimal(first[1]) * _SUFFIX[first[2]] == Decimal(second[1]) * _SUFFIX[second[2]]
    except ArithmeticError:
        return False
