"""What people get from an index's query server, as they type it: real engine, real small model, real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_index_engine import ROOT, Index, embedder, engine, free_port, milvus_lite, post, until

__all__ = ["milvus_lite"]


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as reply:
        return json.load(reply)


def typed(index: Index, *words: str, columns: int = 100) -> tuple[int, str, str]:
    """`llmops WORDS`, against the query server itself: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "llmops.cli", *words, "--url", f"http://127.0.0.1:{index.port}"]
    env = {"PYTHONPATH": str(ROOT / "operator"), "COLUMNS": str(columns), "PATH": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, milvus_lite: Path) -> Iterator[Index]:
    """An index with a generation that is searched."""
    folder = tmp_path_factory.mktemp("index")
    one = Index(folder, free_port(), free_port())
    one.more = ("--poor-below=0.35",)
    with engine(milvus_lite, folder / "data", one.engine_port), embedder(one.embedder_port):
        one.build()
        with one.serving():
            until(lambda: one.found("How do I change my email address?") is not None, 20)
            yield one


def test_a_question_is_answered_in_lines_that_fit(served: Index) -> None:
    code, out, _ = typed(served, "search", "faq", "How do I change my email address?", "--top", "3", columns=70)
    lines = out.splitlines()
    assert (code, lines[0], len(lines)) == (0, "shop/faq, generation 1", 4)
    assert lines[1].startswith("  1  0.")
    assert "faq/q001#0" in lines[1]
    assert max(map(len, lines)) <= 70


def test_a_filter_and_a_score_narrow_it_and_what_is_wrong_is_a_sentence(served: Index) -> None:
    asked = ("search", "faq", "How do I change my email address?")
    code, out, _ = typed(served, *asked, "--min-score", "0.999")
    assert (code, out.strip()) == (1, "shop/faq, generation 1: nothing was found; ask again without --min-score")
    code, out, _ = typed(served, *asked, "--filter", 'document == "faq/q002"', "--json")
    assert [one["id"] for one in json.loads(out)["passages"]] == ["faq/q002#0"]
    code, _, said = typed(served, *asked, "--filter", "document ===")
    assert (code, "filter cannot be read" in said) == (2, True)
    code, _, said = typed(served, *asked, "--generation", "9")
    assert (code, "generation 9 of VectorIndex shop/faq: it is gone" in said) == (2, True)


def test_what_users_asked_in_vain_is_listed_and_what_people_try_is_not(served: Index) -> None:
    assert typed(served, "search", "faq", "Who won the chess championship?")[0] == 0
    assert typed(served, "search", "faq", "--poor")[:2][0] == 1
    for text in ("What is the boiling point of helium?", "what is the boiling point of helium"):
        assert served.search(text, topK=3)[0] == 200
    served.search("How do I change my email address?", minScore=0.99)
    url = f"http://127.0.0.1:{served.port}"
    assert post(url + "/poor", {"text": "How do I change my email address"}) == (200, {"ok": True})
    assert post(url + "/poor", {"words": "x"})[0] == 400
    code, out, _ = typed(served, "search", "faq", "--poor")
    assert code == 0
    helium, email = [line for line in out.splitlines()[1:] if "helium" in line or "email" in line]
    assert "What is the boiling point of helium?" in out
    assert {helium.split()[0], email.split()[0]} == {"2"}
    with urllib.request.urlopen(url + "/metrics", timeout=20) as reply:
        metrics = reply.read().decode()
    for reason, count in (("low", 2), ("empty", 1), ("disliked", 1)):
        assert f'llmops_retrieval_poor_searches_total{{reason="{reason}"}} {count}.0' in metrics
