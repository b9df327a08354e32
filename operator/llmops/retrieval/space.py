"""A vector space: told by its dimension and by where a few fixed sentences lie in it.

Names and revisions do not suffice: the same model at another precision, pooling or prefix puts the same words
elsewhere, and a search across the two finds nonsense without an error. Vectors of the same model differ in the last
digits from machine to machine (batching, threads), so they are compared by their angle and not by a hash.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

PROBES = (
    "The parcel was left with a neighbour on Tuesday.",
    "Which of these two boots is waterproof up to the ankle?",
    "def area(width, height): return width * height",
    "Im Winter schließen wir um fünf Uhr.",
)
SAME = 0.9995
"""The least cosine over the probes. F16 against F32 of one model: 0.999996; Q8_0 against F16: down to 0.998."""

Vector = Sequence[float]


@dataclass(frozen=True)
class Space:
    """Where the probes lie."""

    probes: tuple[tuple[float, ...], ...]

    @property
    def dimensions(self) -> int:
        return len(self.probes[0])

    @property
    def fingerprint(self) -> str:
        """For people; equal spaces nearly always show the same one, but `same` is what decides."""
        rounded = [[round(number, 2) + 0.0 for number in _unit(probe)] for probe in self.probes]
        return hashlib.sha256(repr(rounded).encode()).hexdigest()[:16]

    def same(self, other: Space) -> bool:
        return self.differs(other) is None

    def differs(self, other: Space) -> str | None:
        """Why vectors of the one mean nothing in the other; None where they do."""
        if self.dimensions != other.dimensions:
            return f"vectors of {other.dimensions} numbers where the passages have {self.dimensions}"
        least = min(_cosine(a, b) for a, b in zip(self.probes, other.probes, strict=True))
        return None if least >= SAME else f"the same sentence lies elsewhere (cosine {least:.4f}, wanted {SAME})"

    def dumps(self) -> str:
        """Half-precision numbers in base64: 4 KiB for 384 dimensions, small enough for a collection's property."""
        flat = [number for probe in self.probes for number in _unit(probe)]
        return f"{self.dimensions}:" + base64.b64encode(struct.pack(f"<{len(flat)}e", *flat)).decode()


def loads(text: str) -> Space:
    """What `dumps` wrote."""
    size, _, data = text.partition(":")
    raw, width = base64.b64decode(data), int(size)
    flat = struct.unpack(f"<{len(raw) // 2}e", raw)
    return Space(tuple(flat[at : at + width] for at in range(0, len(flat), width)))


def _unit(vector: Vector) -> list[float]:
    length = math.sqrt(sum(number * number for number in vector)) or 1.0
    return [number / length for number in vector]


def _cosine(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(_unit(a), _unit(b), strict=True))
