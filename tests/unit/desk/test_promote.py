"""What `llmops promote` prints, and when it prints nothing."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.unit.desk.test_rollback import NEW, OLD, digest, release, stands

from llmops import cli
from llmops.desk import patch
from llmops.desk.objects import Unknown
from llmops.desk.promote import printed, proven, references
from llmops.kube.resources import LLM_SERVICE, VECTOR_INDEX

Object = dict[str, Any]
OLDER = release(NEW, phase="Released", stable=stands(NEW))
DEV = release(OLD, phase="Released", stable=stands(OLD))


def test_the_patch_has_the_content_and_nothing_else() -> None:
    made = yaml.safe_load(printed(DEV, digest(OLD), "prod", {}))
    assert made == {
        "apiVersion": "llmops.dev/v1alpha1",
        "kind": "PromptRelease",
        "metadata": {"name": "answer", "namespace": "prod"},
        "spec": OLD,
    }


def test_the_digest_stands_below() -> None:
    assert printed(DEV, digest(OLD), "prod", {}).endswith(f"\n# digest: {digest(OLD)}\n")


@pytest.mark.parametrize("known", [True, False])
def test_on_the_other_release_it_gives_the_same_content_whatever_that_had(known: bool) -> None:
    """Not known, only what is inside of free schemas could be left over."""
    target = release({**NEW, "variables": OLD["variables"]})
    text = printed(DEV, digest(OLD), "prod", target if known else None)
    after = patch.onto(target, yaml.safe_load(text))
    assert patch.digest_after(after, {}) == digest(OLD)
    assert after["spec"]["rollout"] == target["spec"]["rollout"]
    assert "indexRef" not in after["spec"]


def test_a_known_release_is_rid_of_what_its_schemas_had_besides() -> None:
    after = patch.onto(OLDER, yaml.safe_load(printed(DEV, digest(OLD), "prod", OLDER)))
    assert after["spec"]["variables"] == OLD["variables"]


def test_a_patch_that_would_give_another_content_is_not_let_out() -> None:
    with pytest.raises(Unknown, match="this is a fault of llmops"):
        printed(DEV, digest(NEW), "prod", None)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"phase": "Canary", "stable": stands(NEW)}, "1.0.0 .* is Canary, and users have 2.0.0"),
        ({"phase": "Released", "stable": stands(NEW)}, "users have 2.0.0"),
        ({"phase": "Holding", "stable": stands(OLD)}, "is Holding"),
        ({"phase": "Pending"}, "nothing was released"),
        ({"phase": "Released", "stable": stands(OLD), "observedGeneration": 1}, "is not looked at yet"),
    ],
)
def test_only_what_users_have_is_promoted(status: Object, says: str) -> None:
    with pytest.raises(Unknown, match=says):
        proven(release(OLD, **status))


def test_what_users_have_is_told_by_its_digest() -> None:
    assert proven(DEV) == digest(OLD)


def test_everything_the_content_needs_is_asked_for_once() -> None:
    step = {"name": "a", "serviceRef": {"name": "small"}, "fallback": {"serviceRef": {"name": "big"}}}
    spec = {"serviceRef": {"name": "big"}, "indexRef": {"name": "faq"}, "steps": [step, {"name": "b"}]}
    assert references(spec) == [(LLM_SERVICE, "big"), (VECTOR_INDEX, "faq"), (LLM_SERVICE, "small")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["llm", "support", "--to-namespace", "prod"], "promote is for a PromptRelease"),
        (["prel", "answer", "-n", "prod", "--to-namespace", "prod"], "answer is in prod already"),
    ],
)
def test_what_makes_no_sense_is_said_before_anybody_is_asked(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["promote", *words]) == 2
    assert says in capsys.readouterr().err
