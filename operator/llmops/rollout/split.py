"""Which users meet the candidate.

A unit's bucket is fixed for an attempt, and a unit meets the candidate while its bucket lies below the weight: so it
always sees the same variant, raising the weight only adds units, and another candidate or attempt draws other units.
(Without the attempt in the hash a retry after a false rollback meets the same unlucky units: simulated, 22 to 33% of
such retries fail falsely, with it 0 to 5%.)
"""

from __future__ import annotations

import hashlib

BUCKETS = 10_000


def bucket(release: str, digest: str, attempt: int, unit: str) -> int:
    """0 to 9999, evenly, for one unit of `release` (namespace/name) in one attempt at one candidate."""
    text = f"{release}\n{digest}\n{attempt}\n{unit}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % BUCKETS


def meets_candidate(bucket: int, weight: int) -> bool:
    """Whether a unit in this bucket meets the candidate at this weight: at 0 nobody does, at 100 everybody."""
    return bucket < weight * (BUCKETS // 100)


def is_shadowed(release: str, digest: str, attempt: int, unit: str, percent: int) -> bool:
    """Whether the candidate answers this unit too, unseen: other units than those that meet it first."""
    return bucket(release, f"{digest}\nshadow", attempt, unit) < percent * (BUCKETS // 100)


def is_judged(release: str, digest: str, attempt: int, unit: str, percent: int) -> bool:
    """Whether this unit's answers are judged, whichever version it meets."""
    return bucket(release, f"{digest}\njudge", attempt, unit) < percent * (BUCKETS // 100)


def unit_hash(unit: str) -> str:
    """The 16 hex digits by which a unit is reported, so that no user's name leaves the gateway."""
    return hashlib.sha256(unit.encode()).hexdigest()[:16]
