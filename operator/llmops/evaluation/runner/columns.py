"""Parquet -> JSON Lines, row by row, so that everything after is as with any other file."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

MOST_BYTES = 512 << 20
"""Of all columns together, unpacked: a file of 64 MiB may hold very much more."""
BATCH = 1024


def lines(content: bytes, most: int) -> str:
    """No more than `most` rows; ValueError says what cannot be read."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > MOST_BYTES:
            raise ValueError(f"it unpacks to more than {MOST_BYTES >> 20} MiB")
        return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in _rows(file, most))
    except (arrow.ArrowException, OSError) as problem:
        raise ValueError(f"it is no Parquet file that can be read ({problem})") from None


def _rows(file: Any, most: int) -> Iterator[Mapping[str, Any]]:
    left = most
    for batch in file.iter_batches(batch_size=min(BATCH, most)):
        for one in batch.slice(0, left).to_pylist():
            yield {name: _plain(name, value) for name, value in one.items() if value is not None}
        left -= min(left, batch.num_rows)
        if not left:
            return


def _plain(name: str, value: Any) -> Any:
    """As JSON has it: moments as texts, what is no number as nothing."""
    if isinstance(value, bytes):
        raise ValueError(f"column {name!r} holds bytes: write texts")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(name, inner) for key, inner in value.items()}
    return [_plain(name, inner) for inner in value] if isinstance(value, list | tuple) else value
