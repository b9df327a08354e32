"""Whether an answer has a form: what fits, what does not, and what nobody should wait for."""

from __future__ import annotations

import time

import pytest

from llmops.evaluation.forms import FormError, expression, schema


@pytest.mark.parametrize(
    ("pattern", "answer", "fits"),
    [
        (r"^[A-Z]{2}-\d{4}$", "AB-1234", True),
        (r"^[A-Z]{2}-\d{4}$", "It is AB-1234.", False),
        (r"[A-Z]{2}-\d{4}", "It is AB-1234.", True),
        ("(?i)yes", "Yes!", True),
        ("営業", "本日は営業中です", True),
    ],
)
def test_a_pattern_is_looked_for_anywhere_unless_it_is_anchored(pattern, answer, fits):
    assert expression(pattern)(answer) is fits


def test_a_catastrophic_pattern_takes_no_longer_than_another():
    started = time.process_time()
    assert not expression("^(a+)+$")("a" * 20_000 + "!")
    assert time.process_time() - started < 1


@pytest.mark.parametrize("pattern", ["(", "(?=a)b", r"(a)\1"])
def test_a_pattern_that_re2_cannot_do_is_refused_before_a_run(pattern):
    with pytest.raises(FormError, match="RE2"):
        expression(pattern)


@pytest.mark.parametrize(
    ("wanted", "answer", "fits"),
    [
        # JSON-Schema-Test-Suite, draft 2020-12: required.json, minimum.json, pattern.json, enum.json
        ({"properties": {"foo": {}, "bar": {}}, "required": ["foo"]}, '{"foo": 1}', True),
        ({"properties": {"foo": {}, "bar": {}}, "required": ["foo"]}, '{"bar": 1}', False),
        ({"minimum": 1.1}, "2.6", True),
        ({"minimum": 1.1}, "0.6", False),
        ({"pattern": "^a*$"}, '"aaa"', True),
        ({"pattern": "^a*$"}, '"abc"', False),
        ({"enum": [1, 2, 3]}, "4", False),
        # ours: an answer is JSON and nothing else
        ({"type": "object"}, 'Here it is: {"foo": 1}', False),
        ({"type": "object"}, '```json\n{"foo": 1}\n```', False),
        ({}, "NaN", False),
        ({"type": "array"}, "[" * 100_000, False),
    ],
)
def test_an_answer_fits_a_schema_as_the_standard_s_own_tests_say(wanted, answer, fits):
    assert schema(wanted)(answer) is fits


def test_a_schema_fetches_nothing_and_its_patterns_are_linear():
    with pytest.raises(FormError, match=r"\$defs"):
        schema({"$ref": "https://example.org/schema.json"})
    with pytest.raises(FormError, match="not a JSON Schema"):
        schema({"type": "strin"})
    started = time.process_time()
    assert not schema({"pattern": "^(a+)+$"})('"' + "a" * 20_000 + '!"')
    assert time.process_time() - started < 1
