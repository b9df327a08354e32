"""Filters as trees, and what each engine is asked for them; test_stores.py has what they find."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.api.filters import FilterWrong, Test, Together, Tree
from llmops.api.grammar import parse
from llmops.retrieval.stores.base import Asked
from llmops.retrieval.stores.conditions import conditions
from llmops.retrieval.stores.expressions import expression
from llmops.retrieval.stores.statements import search

A, B, C = (Test(("source",), "==", one) for one in "abc")
YEAR = ("metadata", "year")


@pytest.mark.parametrize(
    ("written", "tree"),
    [
        ("source == 'a'", A),
        ('source=="a" or source == "b" and source == "c"', Together("or", (A, Together("and", (B, C))), 2)),
        ('(source == "a" || source == "b") && source == "c"', Together("and", (Together("or", (A, B)), C), 2)),
        ("NOT source == 'a' AND source == 'b'", Together("and", (Test(("source",), "!=", "a"), B))),
        ("not (source == 'a' or not source == 'b')", Together("and", (Test(("source",), "!=", "a"), B))),
        ('!(metadata["year"] >= 2024)', Test(YEAR, "<", 2024)),
        ('metadata["year"] == -1.5e2', Test(YEAR, "==", -150.0)),
        ('metadata["year"] == -9223372036854775808', Test(YEAR, "==", -(2**63))),
        ('metadata["year"] == 9223372036854775808', Test(YEAR, "==", 2.0**63)),
        ('metadata["a"]["b c"] != true', Test(("metadata", "a", "b c"), "!=", True)),
        ("document  not   in [\"a\", 'b']", Test(("document",), "not in", ("a", "b"))),
        ("document in []", Test(("document",), "in", ())),
        ('text like "a\\"\\\\%"', Test(("text",), "like", 'a"\\%')),
        ('not exists metadata["year"]', Test(YEAR, "missing")),
        ('json_contains(metadata["year"], 1)', Test(YEAR, "contains", 1)),
        (
            'not json_contains_any(metadata["year"], ["a", "b"])',
            Together("and", (Test(YEAR, "lacks", "a"), Test(YEAR, "lacks", "b"))),
        ),
        ("not " * 2000 + "source == 'a'", A),
        ("(" * 2000 + "source == 'a'" + ")" * 2000, A),
    ],
)
def test_a_filter_is_read(written: str, tree: Tree) -> None:
    assert parse(written) == tree


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("", "cannot be read to its end (fields are id, document"),
        ("bad (((", "cannot be read from here on: bad ((("),
        ("nonsense == 'a'", "cannot be read from here on: nonsense"),
        ("sources == 'a'", "cannot be read from here on: sources"),
        ("source ==", "cannot be read"),
        ("source == 'a' source", "cannot be read from here on: source"),
        ("source == 'a'; DROP TABLE x", "cannot be read from here on: ; DROP"),
        ("source == 1", "source is compared with a text here: write it in quotes"),
        ('metadata["a"] like 1', "write it in quotes"),
        ('metadata["a"] < true', "neither less nor more"),
        ("metadata == 1", "cannot be read"),
        ("source == '\\q'", "\\q means nothing in a text"),
        ('metadata["a"] == 1e999', "too large a number"),
        ('json_contains(source, "a")', 'write json_contains(metadata["tags"], "a")'),
        ("source == 'a' and (source == 'b' or (" * 30 + "source == 'c'" + "))" * 30, "write it flatter"),
    ],
)
def test_a_filter_that_cannot_be_read_is_told_what_to_write(written: str, sentence: str) -> None:
    with pytest.raises(FilterWrong) as told:
        parse(written)
    assert sentence in str(told.value)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("document > 'a'", "compares only numbers"),
        ("document like '%a'", 'like "a%" and like "%a%" only'),
        ("document like 'a_b%'", 'like "a%" and like "%a%" only'),
        ('metadata["a\\"b"] == 1', "no key of metadata with a quote"),
    ],
)
def test_what_qdrant_has_no_condition_for_is_said(written: str, sentence: str) -> None:
    with pytest.raises(FilterWrong) as told:
        conditions(written)
    assert sentence in str(told.value)


@pytest.mark.parametrize(
    ("written", "by_key", "json"),
    [
        ("source == 'a'", 'source == "a"', ""),
        ("not (source == 'a' and id in ['x', 'y'])", '((not (source == "a")) or (not (id in ["x", "y"])))', ""),
        ('metadata["a"] >= 1.5', '$meta["m.a"] >= 1.5', 'metadata["a"] >= 1.5'),
        ('metadata["a"] != true', '((exists $meta["m.a"]) and not ($meta["m.a"] == true))',
         '((exists metadata["a"]) and not (metadata["a"] == true))'),
        ('metadata["a"] in [1, "x"]', '($meta["m.a"] == 1 or $meta["m.a"] == "x")',
         '(metadata["a"] == 1 or metadata["a"] == "x")'),
        ('metadata["a"] in []', "id in []", ""),
        ('id == "a" or id == "b" or id == "c"', '(id == "a" or (id == "b" or id == "c"))', ""),
        ('not exists metadata["a b.ü"]', '(not (exists $meta["m.a b.ü"]))', '(not (exists metadata["a b.ü"]))'),
        ('metadata["a"]["b"] like "x%"', 'metadata["a"]["b"] like "x%"', ""),
        ('metadata["a\\"b"] == 1', 'metadata["a\\"b"] == 1', ""),
        ('text == "\\\\ \x01\x0c\\n\\t\x7f"', 'text == "\\\\ \x01\x0c\\n\\t\x7f"', ""),
        ('not json_contains(metadata["a"], "x")',
         '((exists $meta["m.a"]) and not (json_contains(metadata["a"], "x")))',
         '((exists metadata["a"]) and not (json_contains(metadata["a"], "x")))'),
    ],
)  # fmt: skip
def test_milvus_is_asked_by_key_where_passages_have_dynamic_fields(written: str, by_key: str, json: str) -> None:
    assert expression(parse(written), True) == by_key
    assert expression(parse(written), False) == (json or by_key)


def test_milvus_knows_no_escape_in_like() -> None:
    with pytest.raises(FilterWrong, match="no escaped % or _ in like"):
        expression(parse('text like "5\\\\%"'), True)


@given(texts=st.lists(st.text(), min_size=1, max_size=3), key=st.text(min_size=1), by_key=st.booleans())
def test_nothing_that_a_user_wrote_stands_outside_of_a_text_of_an_expression(
    texts: list[str], key: str, by_key: bool
) -> None:
    path = ("metadata", key)
    tests = (Test(("source",), "in", tuple(texts)), Test(path, "not in", tuple(texts)), Test(path, "lacks", texts[0]))
    outside = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', expression(Together("or", tests), by_key))
    assert not re.sub(r"\b(source|metadata|exists|json_contains|and|or|not|in)\b|\$meta", "", outside).strip('()[]" =,')


def test_nothing_that_a_user_wrote_is_part_of_a_statement() -> None:
    evil = "x' OR 1=1 --"
    written = (
        f'source == "{evil}" or metadata["{evil}"]["%s"] in ["{evil}"] or document like "{evil}" '
        f'or metadata["a"] < "{evil}" or json_contains(metadata["{evil}"], "{evil}")'
    )
    statement, given = search("faq__g1", Asked([1.0], 3, written))
    assert isinstance(statement, object)
    text = statement if isinstance(statement, str) else statement.as_string(None)
    assert "OR 1=1" not in text
    assert text.count("%s") == len(given)
