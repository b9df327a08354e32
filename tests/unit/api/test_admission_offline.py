"""`llmops validate`'s judge against the table that the real API server is held to in tests/e2e/test_admission.py."""

from typing import Any

import pytest
from tests.admission_table import Case, bases, cases, samples

from llmops.api.admission import judge


@pytest.mark.parametrize("case", [*cases(), *cases("templates")], ids=lambda case: case.name)
def test_a_bad_object_is_refused_with_the_sentence_that_helps(case: Case) -> None:
    said = [str(refusal) for refusal in judge(case.manifest)]
    assert any(case.offline in one for one in said), said


@pytest.mark.parametrize("manifest", bases(), ids=lambda manifest: manifest["kind"])
def test_what_the_bad_objects_are_made_of_is_good(manifest: dict[str, Any]) -> None:
    assert judge(manifest) == []


@pytest.mark.parametrize(("name", "manifest"), samples())
def test_every_sample_is_accepted(name: str, manifest: dict[str, Any]) -> None:
    assert judge(manifest) == []


def test_the_table_holds_at_least_eighty_objects_and_every_kind() -> None:
    table = cases()
    assert len(table) >= 80
    assert len({case.manifest["kind"] for case in table}) == 7
    assert len({case.name for case in table}) == len(table)


def test_somebody_elses_kind_is_named() -> None:
    assert "write apiVersion" in str(judge({"apiVersion": "llmops.dev/v1", "kind": "LLMService"})[0])
