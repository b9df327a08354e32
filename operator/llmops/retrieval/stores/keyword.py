"""Milvus finding passages by their words (BM25): what a collection needs for it.

The words stand in a field of their own, cut by words.py, and Milvus itself counts them into a sparse vector as rows
come in. Milvus Lite counts how rare a word is within each of its segments, not in the whole collection: a build is
written in one go, and compared are places and not scores (fusion.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pymilvus import DataType, Function, FunctionType, MilvusClient

from llmops.retrieval.stores.base import Unfit, nearness

WORDS, SPARSE = "words", "words_bm25"
SINCE = (2, 5)


def add(client: MilvusClient, schema: Any, indexes: Any) -> None:
    """Fields, function and index; Unfit where this Milvus has no BM25: older ones leave half a collection behind."""
    version = str(client.get_server_version())
    number = re.search(r"(\d+)\.(\d+)", version)
    if number and (int(number[1]), int(number[2])) < SINCE:
        raise Unfit(
            f"Milvus {version} has no BM25, which spec.query.mode Keyword and Hybrid need: write mode Dense, or run "
            f"Milvus {SINCE[0]}.{SINCE[1]} or newer"
        )
    schema.add_field(WORDS, DataType.VARCHAR, max_length=65_535, enable_analyzer=True)
    schema.add_field(SPARSE, DataType.SPARSE_FLOAT_VECTOR)
    bm25 = Function("bm25", FunctionType.BM25, input_field_names=[WORDS], output_field_names=[SPARSE])
    schema.add_function(bm25)
    indexes.add_index(SPARSE, index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params={})


def has(described: Mapping[str, Any]) -> bool:
    """By what Milvus says of a collection."""
    return any(one.get("name") == SPARSE for one in described.get("fields") or [])


def nearness_of(rows: Sequence[Sequence[float]], vector: Sequence[float], metric: str) -> list[float]:
    """The scores that a search for the vector would give: a search by words tells how rare the words are, no more."""
    if not rows:
        return []
    stored, asked = np.array(rows, np.float32), np.array(vector, np.float32)
    if metric == "L2":
        return [nearness(float(one)) for one in ((stored - asked) ** 2).sum(axis=1)]
    products = stored @ asked
    if metric == "Cosine":
        lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(asked)
        products /= np.where(lengths == 0, 1, lengths)
    return [round(float(one), 6) for one in products]
