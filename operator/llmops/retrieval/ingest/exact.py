"""Exact search in one pass over the stored vectors: what an index is measured against.

Memory is a page and the sample, however many passages there are. Only how near the k nearest are is kept, not which
they are: where a text stands in ten documents, it is no loss which of the ten an engine names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llmops.retrieval.stores.base import Store

SAMPLE = 200  # stored vectors asked for their own neighbours
APART = 1e-6  # engines count in 32 bits: what lies nearer together than this share, they cannot tell apart

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exact:
    """Sampled passages, and how near the passages next to each are, nearest first and without itself: of its tenant's,
    where tenants are kept apart. Where there are no more, -inf."""

    metric: str
    rows: int
    ids: Sequence[str]
    vectors: NDArray[np.float32]
    tenants: Sequence[str]  # marks, or empty
    near: Array

    def right(self, at: int, k: int, found: NDArray[np.float32]) -> float | None:
        """The share of the k nearest to the sampled passage that `found` makes good: each that is as near as the k-th
        is right. None where it is alone."""
        k = min(k, int(np.isfinite(self.near[at]).sum()))
        if k == 0:
            return None
        if not len(found):
            return 0.0
        own = self.vectors[at : at + 1]
        kth = self.near[at, k - 1]
        scale = 1.0 if self.metric == "Cosine" else max(float((own.astype(np.float64) ** 2).sum()), abs(kth))
        return min(k, int((nearness(own, found, self.metric) >= kth - APART * scale).sum())) / k


def exact(store: Store, collection: str, metric: str, k: int) -> Exact:
    """The same passages of the same collection each time, evenly from all of it; the k nearest to each."""
    rows = store.count(collection)
    ids = [*_evenly(store, collection, rows)]
    there = {row[0]: row[1:] for row in of(store, collection, ids)}
    vectors = np.array([there[one][0] for one in ids], np.float32)
    tenants = [there[one][1] for one in ids]
    own, near = {one: at for at, one in enumerate(ids)}, np.empty((len(ids), 0))
    for page in store.vectors(collection) if ids else ():
        scores = nearness(vectors, page.vectors, metric)
        scores[np.array(tenants)[:, None] != np.array(page.tenants)] = -np.inf
        for column, one in enumerate(page.ids):
            if one in own:
                scores[own[one], column] = -np.inf
        near = np.concatenate([near, scores], axis=1)
        if near.shape[1] > k:
            near = np.partition(near, near.shape[1] - k, axis=1)[:, -k:]
    return Exact(metric, rows, ids, vectors, tenants, -np.sort(-near, axis=1))


def of(store: Store, collection: str, ids: Sequence[str]) -> Iterator[tuple[str, NDArray[np.float32], str]]:
    """The id, vector and tenant's mark of each of these that is there."""
    for page in store.vectors(collection, ids):
        yield from zip(page.ids, page.vectors, page.tenants, strict=True)


def _evenly(store: Store, collection: str, rows: int) -> Iterator[str]:
    some = min(SAMPLE, rows)
    chosen = {at * rows // some for at in range(some)}
    return (one for at, (one, _) in enumerate(store.ids(collection)) if at in chosen)


def nearness(some: NDArray[np.float32], others: NDArray[np.float32], metric: str) -> Array:
    """Of each to each of the others, by the engine's own metric; more is nearer."""
    a, b = some.astype(np.float64), others.astype(np.float64)
    if metric == "L2":
        return np.asarray(2 * (a @ b.T) - (a**2).sum(axis=1)[:, None] - (b**2).sum(axis=1))
    return np.asarray(_unit(a) @ _unit(b).T if metric == "Cosine" else a @ b.T)


def _unit(vectors: Array) -> Array:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Array = vectors / np.where(lengths == 0, 1, lengths)
    return unit
