"""A release's filter: what is refused before it is released, and that no variable can change what is filtered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.api import grammar
from llmops.api.filters import Test, Together, Tree
from llmops.api.templates import Filter, Refused, check_filter

Object = dict[str, Any]

PRODUCT = 'metadata["product"] == {{ product }}'
LISTED = "source in {{ sources }}"
PAST = "{% if year %}metadata['year'] >= {{ year }}{% endif %}"
BEGINS = 'not text like {{ product ~ "%" }} or exists metadata["a"]'
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "product": {"type": "string"},
        "sources": {"type": "array", "items": {"type": "string"}},
        "year": {"type": ["integer", "null"]},
        "kind": {"enum": ["faq", "manual"]},
        "sure": {"type": "boolean"},
        "anything": {},
    },
}


@pytest.mark.parametrize(
    ("text", "variables", "made"),
    [
        ('source == "faq"', {}, 'source == "faq"'),
        (PRODUCT, {"product": "AX-200"}, 'metadata["product"] == "AX-200"'),
        (PRODUCT, {"product": 'a" or source != "\\'}, 'metadata["product"] == "a\\" or source != \\"\\\\"'),
        (PRODUCT, {"product": 7}, 'metadata["product"] == 7'),
        (PRODUCT, {"product": True}, 'metadata["product"] == true'),
        (LISTED, {"sources": ["a", "ü"]}, 'source in ["a", "ü"]'),
        (LISTED, {"sources": []}, "source in []"),
        (PAST, {"year": 2024}, "metadata['year'] >= 2024"),
        (PAST, {"year": None}, ""),
        (BEGINS, {"product": "AX"}, 'not text like "AX%" or exists metadata["a"]'),
    ],
)
def test_a_variable_becomes_a_literal(text: str, variables: Object, made: str) -> None:
    assert check_filter(text, SCHEMA) == []
    assert Filter(text).render(variables) == made


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "'product' is undefined"),
        ({"product": None}, "null has no place in a filter: give a text"),
        ({"product": {"a": 1}}, "a value of type dict has no place in a filter"),
        ({"product": [["a"]]}, "a value of type list has no place"),
        ({"product": ["a", None]}, "null has no place in a filter"),
        ({"product": "a" * 2_000_000}, "larger than 1024 KiB"),
    ],
)
@pytest.mark.parametrize("text", [PRODUCT, "{% if true %}" + PRODUCT + "{% endif %}"])
def test_what_has_no_place_in_a_filter_is_refused_with_its_reason(text: str, variables: Object, says: str) -> None:
    with pytest.raises(Refused, match=says):
        Filter(text).render(variables)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('source == "{{ product }}"', "within quotes"),
        ("source == '{{ product }}'", "within quotes"),
        ('source like "{% if sure %}a{% endif %}%"', "within quotes"),
        ('source == "a" or text == \'it"s', "a quote left open"),
        (
            "source = {{ product }}",
            'makes source = "a" of values as spec.variables declares them, and it cannot be read from here on: = "a"',
        ),
        (
            "source == {{ year }}",
            "makes source == 1 of values as spec.variables declares them, and source is compared with a text here",
        ),
        (
            "source in {{ anything }}",
            'makes source in "a" of values as spec.variables declares them, and it cannot be read',
        ),
        (
            'metadata["year"] {{ kind }} 3',
            'makes metadata["year"] "faq" 3 of values as spec.variables declares them, and it cannot be read',
        ),
        ("wrong", "makes wrong of values as spec.variables declares them, and it cannot be read from here on: wrong"),
        ("source == {{ nothing }}", "which spec.variables does not declare"),
        ("source == {{ context }}", "which spec.variables does not declare"),
        ("{% include 'x' %}", "include reads other templates"),
    ],
)
def test_what_cannot_become_a_filter_is_refused_before_it_is_released(text: str, says: str) -> None:
    (told,) = check_filter(text, SCHEMA)
    assert says in told


@pytest.mark.parametrize("text", ["source == {{ (product | int) }} or true", "source == {{ product[3] }}"])
def test_what_looks_into_its_variables_is_not_judged_by_made_up_ones(text: str) -> None:
    assert check_filter(text, SCHEMA) == []


def test_a_schema_without_properties_declares_nothing() -> None:
    assert check_filter("source == 'a'", None) == []
    assert check_filter(PRODUCT, {}) != []
    assert check_filter(PRODUCT, {"properties": ["product"]}) != []


@pytest.mark.parametrize(
    "told", [True, {}, {"type": []}, {"enum": []}, {"const": "a"}, {"type": "string", "enum": ["b"]}]
)
def test_a_variable_of_which_little_is_said_counts_as_a_text(told: Any) -> None:
    assert check_filter("source == {{ product }}", {"properties": {"product": told}}) == []


def test_lists_within_lists_are_no_endless_sample() -> None:
    deep: Object = {"type": "array"}
    for _ in range(5000):
        deep = {"type": "array", "items": deep}
    assert check_filter(LISTED, {"properties": {"sources": deep}}) == []


TEXTS = st.text() | st.sampled_from(['"', "\\", '\\"', '" or id like "%', "'", "]", "\n", "{{ product }}", "\x00"])
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@given(product=TEXTS | NUMBERS | st.booleans(), sources=st.lists(TEXTS, max_size=4), year=NUMBERS)
def test_no_value_changes_what_is_asked(product: Any, sources: list[str], year: float) -> None:
    variables: Object = {"product": product, "sources": sources, "year": year}
    given_ = json.loads(json.dumps(variables))
    whole = f"({PRODUCT}) and {LISTED} and not (metadata['year'] > {{{{ year }}}} or hash == {{{{ sources | join }}}})"
    tree = grammar.parse(Filter(whole).render(given_))
    assert flat(tree) == [
        Test(("metadata", "product"), "==", product),
        Test(("source",), "in", tuple(sources)),
        Test(("metadata", "year"), "<=", year),
        Test(("hash",), "!=", "".join(sources)),
    ]


def flat(tree: Tree) -> list[Test]:
    """The tests of a filter that has only `and`."""
    if isinstance(tree, Test):
        return [tree]
    assert isinstance(tree, Together)
    assert tree.word == "and"
    return [test for part in tree.parts for test in flat(part)]
