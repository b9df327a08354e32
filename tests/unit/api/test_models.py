"""The models, digests, settings and texts that every other room builds on."""

from typing import Any

import pytest

from llmops.api import KINDS, LLMService, PromptRelease, Reason, Revision, Settings, digest, names, short
from llmops.api.quantities import decimal, quantity, seconds
from llmops.api.reasons import ConditionType
from llmops.api.settings import SettingError, env_name

SERVICE: dict[str, Any] = {
    "apiVersion": "llmops.dev/v1alpha1",
    "kind": "LLMService",
    "metadata": {"name": "support", "namespace": "shop", "uid": "u", "generation": 3, "managedFields": [{"a": 1}]},
    "spec": {"model": {"uri": "file:///m.gguf"}, "engine": {"type": "LlamaCpp"}, "fromTheFuture": True},
    "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 3}], "alsoNew": 1},
}


def test_an_object_of_the_api_server_is_read_with_its_defaults_and_without_what_is_unknown() -> None:
    service = LLMService.model_validate(SERVICE)
    assert service.spec.replicas == 1
    assert service.spec.access.from_ == "Same"
    assert service.qualified == "shop/support"
    assert service.status is not None
    ready = service.status.condition("Ready")
    assert ready is not None
    assert ready.status == "True"
    assert "fromTheFuture" not in service.spec.wire()


def test_metadata_that_nobody_listed_is_kept() -> None:
    assert LLMService.model_validate(SERVICE).metadata.model_extra == {"managedFields": [{"a": 1}]}


def test_the_essence_has_no_defaults_so_that_a_new_default_makes_no_new_digest() -> None:
    service = LLMService.model_validate(SERVICE)
    explicit = {**SERVICE, "spec": {**SERVICE["spec"], "replicas": 1, "access": {"from": "Same"}, "suspend": False}}
    assert service.spec.essence() == {"model": {"uri": "file:///m.gguf"}, "engine": {"type": "LlamaCpp"}}
    assert LLMService.model_validate(explicit).spec.essence() == service.spec.essence()


def test_free_json_is_kept_as_it_was_written() -> None:
    schema = {"type": "object", "properties": {"question": {"type": "string", "x-other": [1, None]}}}
    spec = {"serviceRef": {"name": "a"}, "version": "1", "variables": schema}
    assert PromptRelease.model_validate({"spec": spec}).spec.wire()["variables"] == schema


def test_parameters_become_numbers_for_the_engine() -> None:
    spec = {
        "serviceRef": {"name": "a"},
        "version": "1",
        "parameters": {"temperature": "0.7", "maxTokens": 64, "seed": 0},
    }
    parameters = PromptRelease.model_validate({"spec": spec}).spec.parameters
    assert parameters.openai() == {"temperature": 0.7, "max_tokens": 64, "seed": 0}


def test_a_revisions_state_is_its_label() -> None:
    spec = {"ofKind": "PromptRelease", "ofName": "a", "digest": "0" * 64, "content": {"messages": []}}
    labelled = {"metadata": {"labels": {names.STATE: "stable"}}, "spec": spec}
    assert Revision.model_validate(labelled).state == "stable"
    assert Revision.model_validate({"spec": spec}).state == ""


def test_kinds_are_named_as_kubernetes_names_them() -> None:
    assert {kind.KIND: kind.PLURAL for kind in KINDS} == {
        "LLMService": "llmservices", "VectorIndex": "vectorindexes", "EvalJob": "evaljobs", "GatewayKey": "gatewaykeys",
        "PromptRelease": "promptreleases", "Provider": "providers", "Revision": "revisions",
    }  # fmt: skip


def test_a_digest_stays_what_it_was_in_the_first_version() -> None:
    fields = {"messages": [{"role": "user", "content": "ä {{ q }}"}], "parameters": {"maxTokens": 64}}
    assert digest(fields) == "83a104fa34b945e77c91554fc92d43cce39ad55f6274c99bb004d7f92dfd701b"


def test_empty_fields_do_not_change_a_digest_and_others_do() -> None:
    plain = digest({"a": 1, "b": {"c": [1, 2]}})
    assert digest({"b": {"c": [1, 2], "new": None}, "a": 1, "later": {}, "list": [], "text": ""}) == plain
    assert digest({"a": 1, "b": {"c": [2, 1]}}) != plain
    assert digest({"a": 0, "b": {"c": [1, 2]}}) != plain
    assert digest({"a": False}) != digest({"a": 0})
    assert short(plain) == plain[:10]


@pytest.mark.parametrize(("text", "value"), [("500ms", 0.5), ("90s", 90), ("1h30m", 5400), ("7d", 604800), ("0s", 0)])
def test_durations_are_read(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "5w", "1.5h", "5m!"])
def test_what_is_no_duration_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match="write 500ms, 90s, 30m"):
        seconds(text)


@pytest.mark.parametrize(("text", "value"), [("40Gi", 42949672960), ("500m", "0.5"), (2, 2), ("1.5G", 1500000000)])
def test_quantities_are_read(text: str | int, value: int | str) -> None:
    assert quantity(text) == decimal(value)


@pytest.mark.parametrize("text", ["NaN", "inf", "", "ninety"])
def test_what_is_no_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a decimal number"):
        decimal(text)


def test_settings_come_from_the_environment_in_their_own_types() -> None:
    settings = Settings.from_env({"LLMOPS_WORKERS": "3", "LLMOPS_RESYNC_SECONDS": "1.5", "OTHER": "x"})
    assert (settings.workers, settings.resync_seconds, settings.system_namespace) == (3, 1.5, "llmops-system")
    assert env_name("workers") == "LLMOPS_WORKERS"


def test_a_setting_that_is_no_number_is_named() -> None:
    with pytest.raises(SettingError, match="LLMOPS_WORKERS='many' is not a number"):
        Settings.from_env({"LLMOPS_WORKERS": "many"})


@pytest.mark.parametrize(("text", "on"), [("true", True), ("false", False)])
def test_a_switch_is_turned_by_true_and_false(text: str, on: bool) -> None:
    assert Settings.from_env({"LLMOPS_IMAGE_VOLUMES": text}).image_volumes is on


@pytest.mark.parametrize("text", ["yes", "1", "False", ""])
def test_a_switch_that_is_neither_is_named(text: str) -> None:
    with pytest.raises(SettingError, match=r"LLMOPS_IMAGE_VOLUMES='.*' is neither true nor false"):
        Settings.from_env({"LLMOPS_IMAGE_VOLUMES": text})


@pytest.mark.parametrize("member", [*Reason, *ConditionType], ids=str)
def test_every_reason_and_condition_has_a_sentence_and_a_kubernetes_name(member: Any) -> None:
    assert member.sentence.endswith(".")
    assert member.value.isalnum()
    assert member.value[0].isupper()
    assert f"{member}" == member.value
