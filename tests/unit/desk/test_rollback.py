"""What `llmops rollback` would write, and what it says where there is nothing to write."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from llmops import cli
from llmops.api import PromptRelease, names
from llmops.api.promptrelease import PromptReleaseSpec
from llmops.desk import patch
from llmops.desk.change import CONTENT
from llmops.desk.objects import Unknown
from llmops.desk.rollback import Back, going_back, say
from llmops.release.content import FIELDS, content, content_digest
from llmops.rollout.hand import passed_over
from llmops.rollout.state import read
from llmops.rollout.world import Wanted, World

Object = dict[str, Any]
OLD: Object = {
    "version": "1.0.0",
    "serviceRef": {"name": "support"},
    "messages": [{"role": "user", "content": "{{ question }}"}],
    "variables": {"type": "object", "properties": {"question": {"type": "string", "maxLength": 400}}},
    "parameters": {"temperature": 0},
}
NEW: Object = {
    "version": "2.0.0",
    "serviceRef": {"name": "support", "adapter": "tone"},
    "indexRef": {"name": "faq", "topK": 4, "variable": "context"},
    "messages": [{"role": "system", "content": "{{ context }}"}, {"role": "user", "content": "{{ question }}"}],
    "variables": {
        "type": "object",
        "properties": {"question": {"type": "string"}, "tone": {"type": "string", "default": "kind"}},
    },
    "parameters": {"temperature": "0.7", "stop": ["\n"], "maxTokens": 64},
    "response": {"schema": {"type": "object"}},
}
OTHER: Object = {**OLD, "version": "1.5.0", "messages": [{"role": "user", "content": "Please: {{ question }}"}]}


def release(spec: Object, **status: Any) -> Object:
    return {
        "apiVersion": "llmops.dev/v1alpha1", "kind": "PromptRelease",
        "metadata": {"name": "answer", "namespace": "shop", "generation": 2, "resourceVersion": "7"},
        "spec": {**copy.deepcopy(spec), "historyLimit": 5, "rollout": {"steps": [{"weight": 10}]}},
        "status": {"observedGeneration": 2, **status},
    }  # fmt: skip


def digest(spec: Object) -> str:
    return content_digest(PromptRelease.parse(release(spec)))


def revision(spec: Object) -> Object:
    return {
        "metadata": {"name": f"answer-prel-{digest(spec)[:10]}", "namespace": "shop"},
        "spec": {
            "ofKind": "PromptRelease", "ofName": "answer", "digest": digest(spec), "version": spec["version"],
            "content": content(PromptRelease.parse(release(spec))),
        },
    }  # fmt: skip


def happened(outcome: str, spec: Object, attempt: int = 1) -> Object:
    return {"digest": digest(spec), "version": spec["version"], "attempt": attempt, "outcome": outcome}


def stands(spec: Object) -> Object:
    return {"digest": digest(spec), "version": spec["version"]}


BOTH = [happened("Released", NEW), happened("Released", OLD)]
REVISIONS = [revision(OLD), revision(NEW), revision(OTHER)]
TODAY = release(NEW, phase="Released", stable=stands(NEW), history=BOTH)


def back(one: Object = TODAY, to: str | None = None, revisions: list[Object] | None = None) -> Back:
    return going_back(one, REVISIONS if revisions is None else revisions, to)


def test_the_fields_of_the_content_are_the_releases_own() -> None:
    camel = {PromptReleaseSpec.model_fields[one].alias for one in FIELDS}
    assert camel == set(CONTENT["PromptRelease"])


@pytest.mark.parametrize("to", [None, "1.0.0", digest(OLD)[:6], digest(OLD)])
def test_one_write_brings_the_old_content_back_whole_and_says_that_it_is_meant(to: str | None) -> None:
    made = back(to=to).patch
    assert made
    after = patch.onto(TODAY, made)
    assert content(PromptRelease.parse(after)) == content(PromptRelease.parse(release(OLD)))
    assert after["spec"]["version"] == "1.0.0"
    for gone in ("indexRef", "response"):
        assert gone not in after["spec"]
    assert after["spec"]["parameters"] == {"temperature": 0}  # stop and maxTokens went with it
    assert after["spec"]["variables"] == OLD["variables"]
    assert (after["spec"]["historyLimit"], after["spec"]["rollout"]) == (5, {"steps": [{"weight": 10}]})
    assert made["metadata"]["annotations"] == {names.ROLLBACK: f"{digest(OLD)}/2"}


def test_the_machine_takes_what_is_written() -> None:
    made = back().patch
    assert made
    after = PromptRelease.parse(patch.onto(TODAY, made))
    wanted = Wanted(content_digest(after), "1.0.0", after.spec.rollout)
    world = World(0.0, rollback=after.metadata.annotations[names.ROLLBACK])
    assert passed_over(read(after.status, after.spec.rollout), wanted, world) is None


def test_it_says_from_what_to_what() -> None:
    assert back().says.startswith(f"back from 2.0.0 ({digest(NEW)[:10]}) to 1.0.0 ({digest(OLD)[:10]}): all users")


def test_back_again_goes_forward() -> None:
    status = {"stable": stands(OLD), "history": [happened("Released", OLD, 2), *BOTH]}
    made = back(release(OLD, phase="Released", **status)).patch
    assert made
    assert made["spec"]["version"] == "2.0.0"
    assert made["metadata"]["annotations"] == {names.ROLLBACK: f"{digest(NEW)}/2"}


MOVING = {**stands(OTHER), "attempt": 1, "weight": 10}
REJECTED = [{**stands(OLD), "attempt": 2, "reason": "CandidateWorse"}]


@pytest.mark.parametrize(
    ("one", "to", "revisions", "says"),
    [
        (TODAY, "3.0.0", None, "--to 3.0.0 names no version of PromptRelease answer: write the version, or at least 6"),
        (TODAY, "3.0.0", None, f"of 2.0.0 ({digest(NEW)[:10]}, stable), 1.0.0 ({digest(OLD)[:10]})"),
        (TODAY, digest(OLD)[:5], None, "names no version"),
        (TODAY, "1.5.0", None, f"1.5.0 ({digest(OTHER)[:10]}) was never released"),
        (TODAY, None, [revision(NEW)], "1.0.0 ("),
        (TODAY, None, [revision(NEW)], "was stable before, and its Revision is gone"),
        (
            TODAY,
            "2.0.0",
            [revision(NEW), revision({**OLD, "version": "2.0.0"})],
            f"--to 2.0.0 may be any of {digest(NEW)[:10]}, {digest(OLD)[:10]}",
        ),
        (
            release(NEW, phase="Released", stable=stands(NEW), history=BOTH[:1]),
            None,
            None,
            "no version was stable before: there is 2.0.0",
        ),
        (release(NEW, phase="Pending"), None, None, "no version was stable before: there is none"),
        (
            release(OTHER, phase="Canary", stable=stands(NEW), candidate=MOVING, history=BOTH),
            None,
            None,
            "1.5.0 is on its way: llmops abort prel answer -n shop takes it back, and users keep 2.0.0",
        ),
        (
            release(NEW, phase="Released", stable=stands(NEW), rejected=REJECTED, history=BOTH),
            None,
            None,
            "1.0.0 (" + digest(OLD)[:10] + ") was rejected since (CandidateWorse)",
        ),
        (
            release(NEW, phase="Released", stable=stands(NEW), history=BOTH),
            None,
            [{**revision(OLD), "spec": {**revision(OLD)["spec"], "content": revision(OTHER)["spec"]["content"]}}],
            "does not read as",
        ),
    ],
)
def test_where_it_cannot_it_says_what_there_is(
    one: Object, to: str | None, revisions: list[Object] | None, says: str
) -> None:
    with pytest.raises(Unknown) as told:
        back(one, to, revisions)
    assert says in str(told.value)


def test_over_a_canary_of_something_else_one_goes_back_by_name() -> None:
    made = back(release(OTHER, phase="Canary", stable=stands(NEW), candidate=MOVING, history=BOTH), "1.0.0").patch
    assert made
    assert made["metadata"]["annotations"] == {names.ROLLBACK: f"{digest(OLD)}/2"}


def test_back_to_stable_withdraws_what_is_on_its_way_and_leaves_no_annotation() -> None:
    one = release(OTHER, phase="Canary", stable=stands(NEW), candidate=MOVING, history=BOTH)
    told = back(one, "2.0.0")
    assert told.patch
    assert told.patch["metadata"]["annotations"] == {names.ROLLBACK: None}
    assert content_digest(PromptRelease.parse(patch.onto(one, told.patch))) == digest(NEW)
    assert "what is on its way is withdrawn" in told.says


def test_what_is_stable_and_in_the_spec_needs_nothing() -> None:
    assert back(to="2.0.0").patch is None


@pytest.mark.parametrize(
    ("mark", "where", "whose"),
    [
        ("argocd.argoproj.io/instance", "labels", "Argo CD"),
        ("argocd.argoproj.io/tracking-id", "annotations", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/name", "labels", "Flux"),
        ("helm.toolkit.fluxcd.io/name", "labels", "Flux"),
    ],
)
def test_who_keeps_it_in_git_is_warned_of_and_gets_the_patch_to_commit(
    mark: str, where: str, whose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {**TODAY, "metadata": {**TODAY["metadata"], where: {mark: "shop"}}}
    say(one, back(one), only_print=False)
    said = capsys.readouterr()
    assert f"WARNING: {whose} ({mark}) keeps this object as it is in Git and will put Git's content back" in said.err
    assert "goes back from 2.0.0" in said.err
    committed = yaml.safe_load(said.out)
    assert committed["metadata"]["annotations"] == {names.ROLLBACK: f"{digest(OLD)}/2"}
    assert committed["spec"]["indexRef"] is None
    assert patch.digest_after(one, committed) == digest(OLD)


def test_without_git_it_says_what_it_did_and_prints_no_patch(capsys: pytest.CaptureFixture[str]) -> None:
    say(TODAY, back(), only_print=False)
    said = capsys.readouterr()
    assert said.out.startswith("PromptRelease shop/answer: goes back from 2.0.0")
    assert len(said.out.splitlines()) == 1
    assert said.err == ""


def test_printed_only_the_patch_is_alone_on_stdout_and_nothing_is_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    say(TODAY, back(), only_print=True)
    said = capsys.readouterr()
    assert patch.digest_after(TODAY, yaml.safe_load(said.out)) == digest(OLD)
    assert "would go back" in said.err
    assert "resourceVersion" not in said.out


def test_only_releases_go_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rollback", "llm", "support"]) == 2
    assert "rollback is for a PromptRelease" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["1e3", "0o10", "010", "y", "no", "2026-01-01", "two\nlines\n", "trailing \nspace", "~"]
)
def test_texts_stay_texts_in_what_is_written(text: str) -> None:
    written = patch.written({"a": text})
    assert yaml.safe_load(written) == {"a": text}
    if text in ("1e3", "0o10", "y"):  # what readers of other versions of YAML take for something else
        assert written == f'a: "{text}"\n'
