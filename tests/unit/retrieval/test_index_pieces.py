"""Gates, vector spaces, documents and passages: the pure pieces of a build."""

from __future__ import annotations

import json
import math
import random
import tracemalloc
from collections import deque
from dataclasses import replace
from itertools import islice

import pytest

from llmops.retrieval import space
from llmops.retrieval.gates import Drift, Figures, Tried, judge
from llmops.retrieval.ingest.chunk import estimate, passages
from llmops.retrieval.ingest.parse import Document
from llmops.retrieval.server.query import Query, Refused, parse
from llmops.retrieval.space import PROBES, Space

TEXT = "The tent has two poles. " * 40 + "\n\n" + "The stove burns gas. " * 40


@pytest.mark.parametrize(
    ("gate", "passed", "said"),
    [
        ({"type": "AnnRecall", "atK": 10, "min": "0.95"}, True, "finds 0.960 with ef 64, at least 0.95"),
        ({"type": "AnnRecall", "atK": 10, "min": "0.97"}, False, "less than the wanted 0.97"),
        ({"type": "AnnRecall", "atK": 5, "min": "0.5"}, False, "nothing could be measured"),
        ({"type": "Retrieval", "atK": 4, "min": "0.86"}, True, "for 100 questions 0.860"),
        (
            {"type": "Retrieval", "atK": 4, "min": "0.87"},
            False,
            "less than the wanted 0.87: see with llmops search what",
        ),
        ({"type": "RowCount", "min": 100}, True, "100 passages"),
        ({"type": "RowCount", "min": 101}, False, "less than the wanted 101: look whether a source lacks documents"),
        ({"type": "Latency", "percentile": 50, "max": "20ms"}, True, "p50 of 4 searches, one at a time, is 20ms"),
        (
            {"type": "Latency", "percentile": 95, "max": "30ms"},
            False,
            "40ms, more than the wanted 30ms: lower spec.index.search.ef, give",
        ),
        ({"type": "Latency", "concurrency": 8, "max": "60ms"}, True, "p95 of 2 searches, 8 at a time, is 60ms"),
        ({"type": "Latency", "concurrency": 4, "max": "60ms"}, False, "nothing could be measured"),
        ({"type": "ScoreDrift", "max": "0.2"}, True, "median 0.610 where the served generation's have 0.600"),
        (
            {"type": "ScoreDrift", "max": "0.1"},
            False,
            "0.12 apart, more than the wanted 0.1: look at minScore and spec.query.poorBelow",
        ),
    ],
)
def test_a_gate_says_what_was_measured_and_what_was_wanted(gate: dict[str, object], passed: bool, said: str) -> None:
    figures = Figures(100, {10: 0.96}, {4: 0.86}, 100, {1: [0.01, 0.02, 0.03, 0.04], 8: [0.05, 0.06]}, {"ef": 64})
    figures = replace(figures, drift=Drift("questions", 100, 0.12, 0.6, 0.61))
    (result,) = judge([gate], figures)
    assert result.passed is passed
    assert said in result.sentence


TUNED = (Tried({"ef": 64}, 0.8, 0.01),)
M4 = Figures(4000, {10: 0.93}, search={"ef": 4000}, everything=True, tried=TUNED, index="HNSW with M 4")
IVF = replace(M4, search={"nprobe": 128}, index="IVF_SQ8 with nlist 128")


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (M4, ": ef 4000, which looks at every passage, is not enough for HNSW with M 4: raise M and"),
        (replace(M4, everything=False), ": ef 4000, the most that is tried, is not enough"),
        (replace(M4, tried=()), "0.95: raise spec.index.search.ef, or write spec.rollout.autoTuneSearch: true"),
        (
            IVF,
            ": nprobe 128, which looks at every passage, is not enough for IVF_SQ8 with nlist 128: write spec",
        ),
        (replace(IVF, tried=()), "0.95: raise spec.index.search.nprobe, or write spec.rollout.autoTuneSearch: true"),
        (replace(M4, tried=(), index="AUTOINDEX"), "0.95: write spec.rollout.autoTuneSearch: true"),
        (replace(M4, flat=False), "for HNSW with M 4: raise M and efConstruction in spec.index.parameters"),
        (replace(M4, index="AUTOINDEX"), "is not enough for AUTOINDEX: write spec.index.type: FLAT"),
        (replace(IVF, tried=(), index="SCANN"), "0.95: write spec.rollout.autoTuneSearch: true"),
    ],
)
def test_an_index_that_finds_too_little_says_what_would_find_more(figures: Figures, said: str) -> None:
    (result,) = judge([{"type": "AnnRecall", "min": "0.95"}], figures)
    assert said in result.sentence
    assert ("FLAT" in result.sentence) is (figures.flat and bool(figures.tried))


def vectors(seed: int, noise: float = 0.0, width: int = 64) -> Space:
    base, shake = random.Random(1), random.Random(seed)
    rows = [[base.gauss(0, 1) for _ in range(width)] for _ in PROBES]
    return Space(tuple(tuple(number + shake.gauss(0, noise) for number in row) for row in rows))


def test_a_space_is_the_same_after_a_trip_through_a_property() -> None:
    there = vectors(1)
    back = space.loads(there.dumps())
    assert there.same(back)
    assert len(there.dumps()) < 1000


def test_last_digits_do_not_make_another_space_but_a_coarser_model_does() -> None:
    assert vectors(1).same(vectors(2, noise=0.001))
    assert "the same sentence lies elsewhere" in str(vectors(1).differs(vectors(2, noise=0.1)))


def test_another_dimension_is_told_by_its_numbers() -> None:
    told = vectors(1).differs(vectors(1, width=32))
    assert told == "vectors of 32 numbers where the passages have 64"


@pytest.mark.parametrize("strategy", ["Semantic", "Fixed"])
def test_no_passage_is_longer_than_asked_and_none_of_the_text_is_lost(strategy: str) -> None:
    cut = [*passages([Document("faq/a", "faq", TEXT)], {"strategy": strategy, "maxTokens": 50, "overlap": 0}, estimate)]
    assert [one.id for one in cut] == [f"faq/a#{n}" for n in range(len(cut))]
    assert max(estimate(one.text) for one in cut) <= 50
    assert "".join("".join(one.text for one in cut).split()) == "".join(TEXT.split())


@pytest.mark.parametrize("strategy", ["Semantic", "Fixed"])
def test_neighbours_share_the_overlap(strategy: str) -> None:
    cut = [*passages([Document("d", "s", TEXT)], {"strategy": strategy, "maxTokens": 50, "overlap": 20}, estimate)]
    without = [*passages([Document("d", "s", TEXT)], {"strategy": strategy, "maxTokens": 50, "overlap": 0}, estimate)]
    assert len(cut) > len(without)
    assert sum(len(one.text) for one in cut) > len(TEXT) * 1.1


@pytest.mark.parametrize(
    ("text", "tokens"),  # of cl100k_base, which OpenAI's embedding models count with
    [
        ("Go to Profile, edit the email field and confirm the link we send.", 15),
        ("Im Winter schließen wir um fünf Uhr. Geschenkgutscheine können nicht zurückgegeben werden.", 23),
        ("Возврат товара бесплатен в течение тридцати дней.", 24),
        ("如果商品未使用并且保留原包装，三十天内可以免费退货。礼品卡不能退货。", 34),
        ("商品が未使用で元の包装が残っている場合、三十日以内であれば無料で返品できます。", 36),
        ("لا يمكن إرجاع بطاقات الهدايا.", 22),
        ("상품을 사용하지 않고 원래 포장이 남아 있으면", 20),
    ],
)
def test_tokens_are_estimated_with_caution_in_any_script(text: str, tokens: int) -> None:
    assert tokens * 0.95 <= estimate(text) <= tokens * 2


def test_a_document_strategy_cuts_nothing() -> None:
    (one,) = passages([Document("d", "s", TEXT)], {"strategy": "Document", "maxTokens": 8, "overlap": 0}, estimate)
    assert one.text == TEXT


def test_headings_are_never_crossed_and_each_passage_says_under_which_it_stands() -> None:
    text = "Before.\n\n# Boots\nBoots are warm.\n\n## Care\nGrease them.\n\n# Tents\n" + "A tent has two poles. " * 30
    asked = {"strategy": "Headings", "maxTokens": 60, "overlap": 0}
    cut = [*passages([Document("s/d", "s", text, {"title": "Shop"})], asked, estimate)]
    assert [one.text for one in cut[:3]] == ["Before.", "Boots\nBoots are warm.", "Boots > Care\nGrease them."]
    assert [one.id for one in cut] == [f"s/d#{n}" for n in range(len(cut))]
    assert cut[2].metadata == {"title": "Shop", "headings": "Boots > Care"}
    assert len(cut) > 4
    assert all(one.text.startswith("Tents\nA tent") for one in cut[3:])


def test_a_heading_with_nothing_under_it_is_found_too() -> None:
    text = "# Help\n## Can I return shoes? Yes, within thirty days.\n## Are you open on Sundays? No.\n# Imprint\n"
    asked = {"strategy": "Headings", "maxTokens": 60, "overlap": 0}
    assert [one.text for one in passages([Document("s/d", "s", text)], asked, estimate)] == [
        "Help > Can I return shoes? Yes, within thirty days.", "Help > Are you open on Sundays? No.", "Imprint",
    ]  # fmt: skip


@pytest.mark.parametrize("overlap", [0, 30, 49])
def test_the_headings_that_a_passage_begins_with_are_of_its_tokens(overlap: int) -> None:
    text = "# What we know of tents\n## How many poles they have\n" + "A tent has two poles. " * 60
    asked = {"strategy": "Headings", "maxTokens": 50, "overlap": overlap}
    cut = [*passages([Document("s/d", "s", text)], asked, estimate)]
    assert max(estimate(one.text) for one in cut) <= 50
    assert min(estimate(one.text) for one in cut[:-1]) > 40


def test_what_was_cut_is_not_kept_in_memory() -> None:
    asked = {"strategy": "Semantic", "maxTokens": 50, "overlap": 0}
    texts = (Document(f"s/{n}", "s", TEXT.replace("a", f"{n} ")) for n in range(220))
    cut = passages(texts, asked, estimate)
    deque(islice(cut, 400), 0)
    tracemalloc.start()
    deque(cut, 0)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"{}", "text is missing"),
        (b'{"text": "a", "topK": 0}', "topK must be"),
        (b'{"text": "a", "topK": true}', "topK must be"),
        (b'{"text": "a", "filter": 1}', "filter must be"),
        (b'{"text": "a", "filter": "page = 1"}', "filter: it cannot be read from here on: page = 1"),
        (b'{"text": "a", "minScore": "x"}', "minScore must be"),
        (b'{"text": "a", "remember": 1}', "remember must be"),
    ],
)
def test_a_wrong_search_is_told_what_to_send(body: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        parse(body)
    assert refused.value.status == 400
    assert (refused.value.code == "filter_refused") == ("filter" in said)


def test_a_search_has_defaults() -> None:
    assert parse(b'{"text": "a"}') == Query("a", 4, "", None)
    assert parse(json.dumps({"text": "a", "topK": 2, "minScore": "0.3"}).encode()) == Query("a", 2, "", 0.3)
    assert math.isclose(parse(b'{"text":"a","minScore":0.5}').min_score or 0, 0.5)
