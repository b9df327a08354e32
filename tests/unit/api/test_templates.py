"""Prompt templates: what they can do, what they cannot, and that no attack holds anybody for longer than 100 ms."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmops.api import templates
from llmops.api.templates import Refused, check, compile

ATTACKS = yaml.safe_load((Path(__file__).parents[2] / "data" / "template_attacks.yaml").read_text(encoding="utf-8"))
VARIABLES: dict[str, Any] = {
    "text": "a" * 1000,
    "big": "a" * 200_000,
    "items": [{"name": "n" * 20, "text": "t"} for _ in range(1000)],
}
SCHEMA = {"type": "object", "properties": {name: {} for name in [*VARIABLES, "question", "nothing"]}}
HELD_SECONDS = 0.1


def _text(attack: dict[str, Any]) -> str:
    if "template" in attack:
        return str(attack["template"])
    begin, left, lefts, middle, right, rights, end = attack["repeat"]
    return str(begin + left * lefts + middle + right * rights + end)


def _message(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _quickest(run: Any) -> float:
    """The best of three: a busy machine says nothing about the template."""
    took = []
    for _ in range(3):
        begin = time.thread_time()
        run()
        took.append(time.thread_time() - begin)
    return min(took)


@pytest.mark.parametrize("attack", ATTACKS["refused"], ids=lambda attack: _text(attack)[:40])
def test_an_attack_is_refused_before_it_is_released(attack: dict[str, Any]) -> None:
    problems = check(_message(_text(attack)), SCHEMA)
    assert any(attack["says"] in str(problem) for problem in problems), problems
    assert _quickest(lambda: check(_message(_text(attack)), SCHEMA)) < HELD_SECONDS


@pytest.mark.parametrize("attack", ATTACKS["held"], ids=lambda attack: _text(attack)[:40])
def test_what_only_its_variables_make_dear_is_held_by_the_budget(attack: dict[str, Any]) -> None:
    text = _text(attack)
    if attack.get("refuse_early"):
        assert check(_message(text), SCHEMA)
        return
    assert check(_message(text), SCHEMA) == []
    prompt = compile(_message(text))

    def render() -> None:
        with pytest.raises(Refused) as refused:
            prompt.render(VARIABLES)
        assert attack["says"] in str(refused.value)

    assert _quickest(render) < HELD_SECONDS


@pytest.mark.parametrize("piece", ATTACKS["filling"], ids=repr)
def test_the_longest_message_of_anything_is_judged_and_rendered_in_time(piece: str) -> None:
    filling = (piece * (65_536 // len(piece)))[: 65_536 - 20]

    def judge() -> None:
        for text in (filling, "{{ text }}" + filling, filling + "{{- text }}"):
            if not check(_message(text), SCHEMA):
                compile(_message(text)).render(VARIABLES)

    assert _quickest(judge) < 3 * HELD_SECONDS


def test_the_table_has_two_hundred_attacks() -> None:
    assert sum(map(len, ATTACKS.values())) >= 200


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hello {{ question }}!", "Hello Why?!"),
        ("{{ question|upper }}", "WHY?"),
        (
            "{% for i in items %}{{ loop.index }}. {{ i.name }}{% if not loop.last %}; {% endif %}{% endfor %}",
            "1. a; 2. b",
        ),
        ("{% if question %}yes{% else %}no{% endif %}", "yes"),
        ("{% set a = question ~ '!' %}{{ a }}", "Why?!"),
        ("{{ missing|default('none') }}", "none"),
        ("{{ missing is defined }}", "False"),
        ("{{ items|length + 1 }}", "3"),
        ("{{ items[0]['name'] }}{{ items[-1].name }}", "ab"),
        ("{% for k, v in items[0].items() %}{{ k }}={{ v }}{% endfor %}", "name=a"),
        ("{{ items|tojson }}", '[{"name": "a"}, {"name": "b"}]'),
        ("{{ question.lower().startswith('why') }}", "True"),
        ("{{ question[:3] }}", "Why"),
        ("{{ 'x' if 3 > 2 and 'W' in question else 'y' }}", "x"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "012"),
        ("{{ items[0].name|replace('a', 'bb')|capitalize }}", "Bb"),
        ("{% raw %}{{ question }}{% endraw %}", "{{ question }}"),
        ("{{ 7 // 2 - 1 }} {{ 1.26|round(1) }}", "2 1.3"),
        ("{{ [question, 'b']|join(', ') }}", "Why?, b"),
        ("{{ none }} {{ true }} {{ 1.5 }}", "None True 1.5"),
        ("no variables {# and a comment #}at all", "no variables at all"),
    ],
)
def test_what_prompts_need_is_there(template: str, text: str) -> None:
    variables = {"question": "Why?", "items": [{"name": "a"}, {"name": "b"}]}
    schema: dict[str, Any] = {"properties": {"question": {}, "items": {}, "missing": {}}}
    assert check(_message(template), schema) == []
    assert compile(_message(template)).render(variables) == [{"role": "user", "content": text}]


def test_an_undeclared_variable_is_named_with_its_message_and_the_fix() -> None:
    messages = [*_message("{{ question }}"), *_message("{{ order_id }}")]
    (problem,) = check(messages, {"properties": {"question": {}}})
    assert str(problem) == (
        "message 2 reads {{ order_id }}, which spec.variables does not declare; add it under properties or remove it"
    )


def test_passages_and_steps_count_as_declared() -> None:
    assert check(_message("{{ context }}"), None, {"context"}) == []


def test_a_bound_on_a_list_lets_its_loops_be_reckoned_beforehand() -> None:
    nested = _message("{% for a in items %}{% for b in items %}{{ b }}{% endfor %}{% endfor %}")
    (problem,) = check(nested, {"properties": {"items": {"type": "array", "maxItems": 1000}}})
    assert "above 100,000" in str(problem)
    assert check(nested, {"properties": {"items": {"type": "array", "maxItems": 50}}}) == []


def test_a_variable_that_was_not_given_is_named() -> None:
    with pytest.raises(Refused, match="message 1 reads something that was not given: 'question'"):
        compile(_message("{{ question }}")).render({})


def test_variables_without_end_are_refused_before_rendering() -> None:
    with pytest.raises(Refused, match="1024 KiB"):
        compile(_message("{{ text }}")).render({"text": "", "other": ["x" * 1000] * 1100})


def test_the_plain_way_and_jinja_write_the_same() -> None:
    values = [None, True, 1, 1.5, "a", [1, "b"], {"k": ["v"]}, "ä\n"]
    for value in values:
        plain = compile(_message("<{{ v }}>")).render({"v": value})
        charged = compile(_message("{% if true %}<{{ v }}>{% endif %}")).render({"v": value})
        assert plain == charged


def test_nothing_of_one_rendering_is_left_for_the_next() -> None:
    prompt = compile(_message("{% for c in text %}{{ c }}{% endfor %}"))
    for _ in range(20):  # together far above one rendering's budget
        assert len(prompt.render({"text": "x" * 9_000})[0]["content"]) == 9_000


def test_every_allowed_filter_works_on_something() -> None:
    for name in templates.budget.FILTERS:
        used = "replace('t', 'x')" if name == "replace" else name
        for value in ("text", [1, 2], {"a": 1}, 1.5):
            try:
                compile(_message("{{ v|" + used + " }}")).render({"v": value})
                break
            except Refused:
                continue
        else:
            pytest.fail(f"the filter {name} works on nothing")
