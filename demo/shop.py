"""The fictional shop's material: a hundred real questions and answers, cut into what each act needs.

The evaluation asks the questions with the shortest answers, in seven phrasings; users ask all hundred. That gap
is deliberate and ordinary: an evaluation set never covers everything people ask, which is why a release that passes
it still goes to a few users first.
"""

from __future__ import annotations

import json
from pathlib import Path

from demo.stage import NAMESPACE, Object

SOURCE = Path(__file__).parents[1] / "tests" / "models" / "shop-qa.jsonl"
EVALUATED = 36  # questions, those with the shortest answers
PHRASINGS = {
    "plain": "{q}",
    "hello": "Hello! {q}",
    "hi": "Hi! {q}",
    "please": "Please help. {q}",
    "thanks": "{q} Thanks!",
    "both": "Hello! {q} Thanks!",
    "help": "Please help. {q} Thanks!",
}


def questions() -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in SOURCE.read_text().splitlines()]
    return [(row["question"], row["answer"]) for row in rows]


def evaluation_rows() -> list[dict[str, str]]:
    short = sorted(questions(), key=lambda qa: (len(qa[1]), qa[0]))[:EVALUATED]
    return [
        {"id": f"{at:03}-{name}", "question": form.format(q=question), "answer": answer, "phrasing": name}
        for at, (question, answer) in enumerate(short)
        for name, form in PHRASINGS.items()
    ]


def config_maps() -> list[Object]:
    """The evaluation's questions, the index's documents, and the labelled questions that measure the index."""
    documents = [{"id": f"faq-{at:03}", "text": f"{q} {a}"} for at, (q, a) in enumerate(questions())]
    asked = [
        {"id": f"q-{at:03}", "question": f"Hello, {q[0].lower()}{q[1:]}", "document": f"faq-{at:03}"}
        for at, (q, _) in enumerate(questions())
    ]
    return [
        _config_map("support-questions", {"qa.jsonl": _jsonl(evaluation_rows())}),
        _config_map("shop-faq", {"faq.jsonl": _jsonl(documents)}),
        _config_map("faq-questions", {"questions.jsonl": _jsonl(asked)}),
    ]


def _config_map(name: str, data: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"llmops.dev/watch": "true"}},
        "data": data,
    }


def _jsonl(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
