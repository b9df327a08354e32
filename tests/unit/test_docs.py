"""The pages that people read: what they link to, show as YAML, type and name is there."""

from __future__ import annotations

import argparse
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.admission_table import bases

from llmops import cli
from llmops.api import KINDS, names
from llmops.api.admission import judge
from llmops.api.crd import PRESERVE, Schema, root

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = [page for page in PAGES if page.parent.name != "reference"]  # the others are generated

KIND_OF = {"evaluation.md": "EvalJob"} | dict.fromkeys(("retrieval.md", "searching.md", "engines.md"), "VectorIndex")
"""Of whose spec a page shows parts."""
LIST_OF = {"type": ("rollout", "gates"), "git": ("sources",)}
"""In which field the items of a list stand that is shown alone, by a field of theirs."""
SOMEBODYS = {"job_name"}
"""Items of configurations that are not ours."""
BENCHMARK = {"target": {"serviceRef": {"name": "support"}}, "benchmark": {"tasks": ["mmlu"], "claim": "benchmarks"}}
WHOLES = [*bases(), {"kind": "EvalJob", "spec": BENCHMARK}]
"""What parts are parts of."""


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(((?!\w+:)[^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


# YAML


def shown() -> Iterator[Any]:
    """Every document of every block of YAML, with its page and line."""
    for page in WRITTEN:
        text = page.read_text()
        for block in re.finditer(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            for given in yaml.safe_load_all(textwrap.dedent(block[1])):
                yield pytest.param(page, given, id=f"{page.name}:{line}")


@pytest.mark.parametrize(("page", "given"), list(shown()))
def test_every_example_is_accepted_as_it_is_written(page: Path, given: Any) -> None:
    if isinstance(given, list) and SOMEBODYS & set(given[0]):
        return
    if "apiVersion" in given:
        assert judge(given) == []
        return
    part = _object(page, given)
    wholes = [_over(one, part) for one in WHOLES if one["kind"] == part["kind"]]
    for one in wholes:
        if "thresholds" not in part["spec"]:
            one["spec"].pop("thresholds", None)  # they speak of the metrics that were there
    refused = [judge(one) for one in (part, *wholes)]
    assert [] in refused, refused


def _object(page: Path, given: Any) -> dict[str, Any]:
    """With its kind and its place in the spec."""
    if isinstance(given, list):
        fields = next(fields for name, fields in LIST_OF.items() if name in given[0])
        for field in reversed(fields):
            given = {field: given}
    spec = given.get("spec", given)
    if spec.get("keys") == ["…"]:
        spec = {**spec, "keys": [{"sha256": "0" * 64}]}
    kind = given["kind"] if "kind" in given else KIND_OF[page.name]
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": "shown"}, "spec": spec}


def _over(one: Any, other: Any) -> Any:
    """`other`, and what only `one` has."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {name: _over(one.get(name), value) for name, value in other.items()}
    return other


# Commands


def typed() -> Iterator[Any]:
    """Every `llmops …` that is shown, in a block or within a sentence."""
    for page in WRITTEN:
        text = page.read_text()
        blocks = re.findall(r"^(?:\$ )?(llmops .*)$", text, re.MULTILINE)
        for line in dict.fromkeys([*blocks, *re.findall(r"`(llmops [^`]+)`", text)]):
            yield pytest.param(line, line in blocks, id=f"{page.name}: {line[:60]}")


@pytest.mark.parametrize(("line", "whole"), list(typed()))
def test_every_command_knows_the_options_that_it_is_shown_with(line: str, whole: bool) -> None:
    words = shlex.split(re.split(r"\s[|>#]", line)[0])[1:]
    if words[0] in {"operator", *cli.PROCESSES}:
        return
    if whole:
        assert cli._parser().parse_args(words).run
    asked = cli._parser()
    for word in words:
        known = next((one.choices for one in asked._actions if isinstance(one, argparse._SubParsersAction)), None)
        if known is not None:
            asked = known[word]
        assert not word.startswith("-") or word in asked._option_string_actions, f"{line}: no option {word}"


# Names


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_field_that_is_named_in_full_is_there(page: Path) -> None:
    named = re.findall(r"\b(?:spec|status)\.[a-zA-Z.]+[a-zA-Z]", page.read_text())
    roots = [root(kind) for kind in KINDS]
    assert [one for one in dict.fromkeys(named) if not any(_has(each, one.split(".")) for each in roots)] == []


def _has(schema: Schema, path: list[str]) -> bool:
    for name in path:
        schema = schema.get("items", schema)
        if schema.get(PRESERVE):
            return True
        inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        if not isinstance(inner, dict):
            return False
        schema = inner
    return True


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_metric_that_is_named_is_there(page: Path) -> None:
    known = (ROOT / "docs/reference/metrics.md").read_text()
    named = re.findall(r"\bllmops_(?:gateway|retrieval|operator)_[a-z_]+[a-z]", page.read_text())
    assert [one for one in dict.fromkeys(named) if re.sub("_(bucket|sum|count)$", "", one) not in known] == []
