"""Server-sent events, cut anywhere, come through whole; ids of answers say what they were."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.world import USAGE, event

from llmops.gateway import marks
from llmops.gateway.stream import DONE, Events

_PIECES = [event("m", [{"index": 0, "delta": {"content": text}}]) for text in ("he", "llo ✓")]
STREAM = b"".join(_PIECES) + event("m", [], usage=USAGE) + DONE


def passed(cuts: list[int], **options: object) -> tuple[bytes, Events]:
    events = Events(**{"our_id": "chatcmpl-ours", "usage_wanted": False, "extra": None, **options})  # type: ignore[arg-type]
    edges = [0, *sorted(cuts), len(STREAM)]
    return b"".join(events.feed(STREAM[a:b]) for a, b in pairwise(edges)), events


@given(st.lists(st.integers(0, len(STREAM)), max_size=12), st.booleans())
def test_where_the_network_cuts_a_stream_makes_no_difference(cuts: list[int], usage: bool) -> None:
    data, events = passed(cuts, usage_wanted=usage)
    whole, _ = passed([], usage_wanted=usage)
    assert data == whole
    assert events.done
    assert (events.tokens_in, events.tokens_out) == (7, 3)
    assert b"theirs" not in data
    assert (b"usage" in data) == usage


def test_citations_come_last_before_the_end() -> None:
    data, _ = passed([], extra={"citations": [{"n": 1}]})
    *_, last, done, _ = data.split(b"\n\n")
    assert orjson.loads(last.removeprefix(b"data: "))["citations"] == [{"n": 1}]
    assert done == b"data: [DONE]"


def test_usage_in_a_chunk_with_choices_is_taken_out_and_the_choices_stay() -> None:
    events = Events(None, False, None)
    chunk = event("m", [{"index": 0, "delta": {}}], usage=USAGE)
    assert b'"choices":[{' in (data := events.feed(chunk))
    assert b"usage" not in data


def test_without_usage_pieces_are_counted_as_tokens() -> None:
    events = Events(None, False, None)
    for _ in range(5):
        events.feed(event("m", [{"index": 0, "delta": {"content": "x"}}]))
    events.feed(DONE)
    events.count()
    assert events.tokens_out == 5


@pytest.mark.parametrize("text", ["", "chatcmpl-", "chatcmpl-theirs", "x", "chatcmpl-%%%", "chatcmpl-YXxi"])
def test_an_id_of_somebody_elses_is_nothing(text: str) -> None:
    assert marks.read(text) is None


@given(st.text(max_size=80))
def test_no_id_can_break_the_reader(text: str) -> None:
    marks.read("chatcmpl-" + text)
