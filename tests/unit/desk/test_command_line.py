"""What a person types and reads: exit codes, sentences, and values that name exactly what they speak of."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmops import cli
from llmops.api.admission import judge
from llmops.desk import change, keys, look
from llmops.desk.explain import explained
from llmops.desk.objects import Unknown, kind_named, named

SAMPLES = Path(__file__).parents[3] / "manifests" / "samples"
DIGEST = "ab" * 32


def _release(**status: Any) -> dict[str, Any]:
    return {
        "kind": "PromptRelease",
        "metadata": {"name": "answer", "namespace": "shop", "generation": 2},
        "spec": {"rollout": {"steps": [{"weight": 10, "pause": "Approval"}]}},
        "status": {"observedGeneration": 2, **status},
    }


CANARY = _release(
    phase="Canary",
    stable={"version": "1.0.0", "digest": "cd" * 32},
    candidate={
        "version": "2.0.0", "digest": DIGEST, "attempt": 3, "weight": 10, "step": 1, "units": 412,
        "evidence": [{"signal": "Errors", "stable": "3/1204", "candidate": "2/412", "eValue": "0.4", "rollbackAt": "40",
                      "weights": [{"weight": 10, "failures": 5, "candidateFailures": 2, "units": 1616}]}],
    },
    conditions=[{"type": "Ready", "status": "False", "reason": "InProgress", "message": "10% of users meet 2.0.0"}],
)  # fmt: skip


def test_validate_accepts_the_samples(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", *map(str, SAMPLES.glob("*.yaml"))]) == 0
    assert "12 objects would be accepted" in capsys.readouterr().out


def test_validate_names_the_file_the_object_the_field_and_the_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text((SAMPLES / "promptrelease.yaml").read_text().replace("{{ question }}", "{{ order_id }}"))
    assert cli.main(["validate", str(bad)]) == 1
    said = capsys.readouterr().out
    assert f"{bad}: PromptRelease shop/answer: spec.messages: message 2 reads {{{{ order_id }}}}" in said


def test_validate_refuses_a_file_that_is_no_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text("a: [")
    assert cli.main(["validate", str(tmp_path / "x.yaml"), str(tmp_path / "missing.yaml")]) == 1
    assert capsys.readouterr().out.count("cannot be read") == 2


def test_validate_leaves_other_peoples_kinds_alone_and_reads_moments_as_kubernetes_does(tmp_path: Path) -> None:
    key = {"keys": [{"sha256": "0" * 64}]}
    manifest = {"apiVersion": "llmops.dev/v1alpha1", "kind": "GatewayKey", "metadata": {"name": "a"}, "spec": key}
    text = yaml.safe_dump(manifest).replace("- sha256", "- expiresAt: 2027-06-30T00:00:00Z\n    sha256")
    (tmp_path / "x.yaml").write_text(f"{text}---\napiVersion: v1\nkind: ConfigMap\n")
    assert cli.main(["validate", str(tmp_path / "x.yaml")]) == 0


def test_crds_prints_all_seven(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["crds"]) == 0
    assert len(list(yaml.safe_load_all(capsys.readouterr().out))) == 7


def test_a_key_is_of_the_groups_that_it_was_made_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["key", "create", "team", "-n", "shop", "--group", "staff", "--group", "board"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["spec"]["groups"] == ["staff", "board"]


def test_a_key_asks_for_the_tenants_that_it_was_made_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["key", "create", "team", "-n", "shop", "--tenant", "größe 😀", "--tenant", "*"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["spec"]["tenants"] == ["größe 😀", "*"]


def test_a_new_key_is_told_once_and_only_its_hash_is_in_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["key", "create", "team", "-n", "shop", "--models", "support", "--expires", "90d"]) == 0
    said = capsys.readouterr()
    key = said.err.split("\n")[1]
    manifest = yaml.safe_load(said.out)
    assert key.startswith("llmops_shop.team.")
    assert key not in said.out
    assert manifest["spec"]["keys"][0]["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert judge(manifest) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["Team_X"], "metadata.name: 'Team_X' is no name: write at most 253 small letters"),
        (["team", "-n", "a.b"], "metadata.namespace: 'a.b' is no name"),
        (["team", "--group", "*"], "spec.groups[0]: write a group's name"),
        (["team", "--models", "a b"], "spec.models[0]: write a model such as support"),
        (["team", "--tenant", ""], "spec.tenants[0]: is too short"),
    ],
)
def test_no_key_is_told_that_the_api_server_would_refuse(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["key", "create", "-n", "shop", *words]) == 2
    said = capsys.readouterr()
    assert (said.out, "shown this once" in said.err) == ("", False)
    assert says in said.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("key create team --expires soon", "--expires: 'soon' is not a duration: write 500ms"),
        ("wait vi faq --timeout 5x", "--timeout: '5x' is not a duration: write 500ms"),
        ("wait vi faq --for Redy", "--for: 'Redy' is never so: write a condition such as Ready"),
        ("wait vi faq --for phase", "--for: 'phase' is never so"),
        ("search faq tent --url localhost:8080", "--url: write an address such as http://localhost:8080"),
        ("questions faq --service s --door localhost", "--door: write an address such as http://localhost:8080"),
        ("questions faq --service s --count 0", "--count: write a number from 1 to 1000"),
    ],
)
def test_what_cannot_be_meant_is_told_what_to_write(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(line.split())
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_no_two_keys_are_alike() -> None:
    assert len({keys.new_key("shop", "team") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "words", [["prel", "answer"], ["prel/answer"], ["PromptRelease", "answer"], ["promptreleases/answer"]]
)
def test_objects_are_found_by_every_name_of_their_kind(words: list[str]) -> None:
    kind, name = named(words)
    assert (kind.KIND, name) == ("PromptRelease", "answer")


def test_a_kind_that_is_none_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unknown, match=r"PromptRelease \(prel\)"):
        kind_named("pod")
    assert cli.main(["explain", "pod", "x"]) == 2
    assert "no kind 'pod'" in capsys.readouterr().err


def test_without_a_cluster_the_sentence_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    assert cli.main(["status"]) == 2
    assert "KUBECONFIG" in capsys.readouterr().err


def test_an_approval_names_digest_attempt_and_step() -> None:
    assert change.spoken_of(CANARY, "approve") == ("llmops.dev/approve", f"{DIGEST}/3/1")
    assert change.spoken_of(CANARY, "abort") == ("llmops.dev/abort", f"{DIGEST}/3")


def test_a_retry_names_what_was_rejected_last() -> None:
    old = {"digest": "ef" * 32, "attempt": 1, "at": "2026-01-01T00:00:00Z"}
    new = {"digest": DIGEST, "attempt": 2, "at": "2026-01-02T00:00:00Z"}
    for rejected in ([old, new], [new, old]):
        assert change.spoken_of(_release(phase="Rejected", rejected=rejected), "retry") == (
            "llmops.dev/retry",
            f"{DIGEST}/2",
        )


@pytest.mark.parametrize("verb", ["approve", "abort", "retry"])
def test_nothing_is_approved_where_there_is_nothing(verb: str) -> None:
    with pytest.raises(Unknown, match=f"nothing to {verb}"):
        change.spoken_of(_release(phase="Released"), verb)


@pytest.mark.parametrize(
    ("wanted", "so"),
    [("Ready", False), ("Ready=False", True), ("phase=Canary", True), ("phase=Released", False), ("Available", False)],
)
def test_waiting_knows_conditions_and_phases(wanted: str, so: bool) -> None:
    assert look.holds(CANARY, wanted) is so


@pytest.mark.parametrize(
    ("status", "wanted", "final"),
    [
        ({"phase": "Rejected"}, "phase=Released", True),
        ({"phase": "Rejected"}, "phase=Rejected", False),
        ({"phase": "Holding"}, "phase=Released", False),
        ({"phase": "Rejected", "observedGeneration": 1}, "phase=Released", False),
        ({"phase": "Succeeded", "verdict": "Inconclusive"}, "verdict=Pass", True),
        ({"phase": "Succeeded", "verdict": "Pass"}, "verdict=Pass", False),
        ({"phase": "Failed", "verdict": "Error"}, "verdict=Pass", True),
        ({"phase": "Running"}, "verdict=Pass", False),
    ],
)
def test_nobody_waits_for_what_is_decided(status: dict[str, Any], wanted: str, final: bool) -> None:
    assert look.decided(_release(**status), wanted) is final


def test_what_is_not_there_is_not_said_to_be_silent() -> None:
    assert (look._said({}), look._said(_release())) == ("it does not exist", "nothing reported")


def test_a_status_of_an_older_generation_satisfies_nobody() -> None:
    older = {**CANARY, "status": {**CANARY["status"], "observedGeneration": 1}}
    assert not look.holds(older, "phase=Canary")
    assert not look.holds({}, "Ready")


def test_explain_tells_the_evidence_with_its_numbers_and_what_can_be_done() -> None:
    said = "\n".join(explained(CANARY))
    assert "version 2.0.0 (ababababab) is on its way, attempt 3: 10% of users; 412 met it." in said
    assert "Errors: 2 of 412 users (0.5%) failed with the candidate, 3 of 1204 users (0.2%) with stable." in said
    assert "evidence of harm 0.4; taken back at 40" in said
    assert "n=5 failed of N=1616, of them x=2 in the candidate" in said
    assert "llmops approve promptrelease answer -n shop" in said


def test_of_a_candidate_that_answers_unseen_the_pairs_are_told_and_an_approval_names_the_shadow() -> None:
    told = {
        "signal": "Errors",
        "stable": "0/0",
        "candidate": "0/0",
        "eValue": "3.1",
        "rollbackAt": "40",
        "pairs": "9/10",
    }
    moving = {"digest": DIGEST, "attempt": 3, "weight": 0, "step": 0, "shadow": 20, "pairs": 37, "evidence": [told]}
    unseen = _release(phase="Holding", heldFrom="Shadow", candidate=moving)
    said = "\n".join(explained(unseen))
    assert "It answers 20% of users too, unseen: 37 of 200 users were answered by both." in said
    assert "unseen: only one of the two answers failed for 10 users, the candidate's for 9 of them" in said
    assert change.spoken_of(unseen, "approve") == ("llmops.dev/approve", f"{DIGEST}/3/shadow")


def test_explain_says_that_a_person_went_back() -> None:
    was = [{"digest": DIGEST, "outcome": outcome, "message": message} for outcome, message in (
        ("Rejected", "no"), ("Released", "rolled back by hand; nothing spoke against it"), ("Released", "at first"))
    ]  # fmt: skip
    said = explained(_release(phase="Released", stable={"version": "1.0.0", "digest": DIGEST}, history=was))
    assert "  It became stable: rolled back by hand; nothing spoke against it." in said


def test_explain_tells_of_versions_only_where_there_are_any() -> None:
    metadata = {"name": "faq", "namespace": "shop", "generation": 1}
    index = {"kind": "VectorIndex", "metadata": metadata, "status": {"phase": "Served", "observedGeneration": 1}}
    assert explained(index) == ["VectorIndex shop/faq", "  Phase: Served"]
    assert "  No version was released yet." in explained(_release(phase="Evaluating"), releases=True)


@pytest.mark.parametrize(
    ("verb", "says"), [("approve", "the index waits for no approval .phase Served."), ("abort", "spec.suspend: true")]
)
def test_an_index_has_no_candidate(verb: str, says: str) -> None:
    with pytest.raises(Unknown, match=says):
        change.spoken_of({"kind": "VectorIndex", "status": {"phase": "Served"}}, verb)


def test_explain_says_when_nobody_has_looked_yet() -> None:
    assert "is the operator running" in explained({**CANARY, "status": {}})[1]


@pytest.mark.parametrize(
    ("field", "says"), [("messages", "a new revision, since messages changes"), ("historyLimit", "no new revision")]
)
def test_a_change_is_told_with_what_it_starts(field: str, says: str) -> None:
    assert says in change.consequence("PromptRelease", {}, {field: [1]})


def test_explain_names_the_revisions_that_prompts_are_released_with() -> None:
    pinned = [{"revision": "support-llm-aaaaaaaaaa", "ready": True}, {"revision": "b" * 10, "message": "no room"}]
    said = explained(_release(phase="Released", pinned=pinned))
    assert "  Prompts are released together with its revision support-llm-aaaaaaaaaa: ready." in said
    assert f"  Prompts are released together with its revision {'b' * 10}: no room." in said


def test_a_revision_is_named_before_anything_is_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "service.yaml"
    spec = "{model: {uri: 'file:///m.gguf'}, engine: {type: LlamaCpp}}"
    file.write_text(f"kind: LLMService\nmetadata: {{name: support, namespace: shop}}\nspec: {spec}\n")
    assert cli.main(["revision", str(file)]) == 0
    kind, name, revision, digest = capsys.readouterr().out.split()
    assert (kind, name, revision) == ("LLMService", "support", f"support-llm-{digest[:10]}")
    file.write_text("kind: ConfigMap\n")
    assert cli.main(["revision", str(file)]) == 1
    assert "no LLMService and no PromptRelease" in capsys.readouterr().err
    file.write_text("kind: PromptRelease\nmetadata: {name: a}\nspec: {version: 1}\n")
    assert cli.main(["revision", str(file)]) == 2
    assert "see llmops validate" in capsys.readouterr().err
