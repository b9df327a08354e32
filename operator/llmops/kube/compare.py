"""Is a live object already what we want? Compared field by field, for only the fields that we set.

The server adds defaults and rewrites quantities ("1000m" becomes "1"), and others may add to what server-side apply
merges (a container, a label), so equality will not do. Selectors are compared whole: one more label in them changes
what they choose. A field that we set once and now leave out is not seen here: the digest of what was applied, kept as
an annotation, tells that.
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
_QUANTITIES = {"requests", "limits", "sizeLimit", "divisor", "averageValue"}
_WHOLE = {"selector", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector", "matchLabels"}
_MERGED = {  # lists that server-side apply merges, by the field that tells their items apart
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath",
    "imagePullSecrets": "name", "ownerReferences": "uid",
}  # fmt: skip


def already(wanted: Any, live: Any, field: str = "") -> bool:
    """True if every field of `wanted` is in `live` with an equal value; empty and absent are the same."""
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return not wanted and live is None
        if field in _WHOLE and live.keys() - wanted.keys():
            return False
        # what is below requests and limits are quantities, whatever they are called
        return all(
            already(value, live.get(key), field if field in _QUANTITIES else key) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return _same_items(wanted, live or [], field)
    if wanted == live or (_empty(wanted) and _empty(live)):
        return True
    return field in _QUANTITIES and _same_quantity(wanted, live)


def _same_items(wanted: list[Any], live: Any, field: str) -> bool:
    if not isinstance(live, list):
        return False
    if key := _MERGED.get(field):
        held = {one.get(key): one for one in live}
        return all(one.get(key) in held and already(one, held[one.get(key)]) for one in wanted)
    return len(wanted) == len(live) and all(map(already, wanted, live))


def _empty(value: Any) -> bool:
    return value is None or value is False or value in ("", 0, {}, [])


def _same_quantity(one: Any, other: Any) -> bool:
    first, second = _QUANTITY.fullmatch(str(one)), _QUANTITY.fullmatch(str(other))
    if first is None or second is None:
        return False
    try:
        return Decimal(first[1]) * _SUFFIX[first[2]] == Decimal(second[1]) * _SUFFIX[second[2]]
    except ArithmeticError:
        return False
