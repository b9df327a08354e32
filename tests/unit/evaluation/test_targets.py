"""What a name in the spec means right now."""

from __future__ import annotations

import pytest

from llmops.evaluation.run import Price
from llmops.evaluation.targets import Missing, Resolved, resolve

GOOD, OLD = "a1b2c3d4" + "0" * 56, "ffee0011" + "0" * 56
URL = "http://gateway/v1"


class Objects:
    """Objects by resource and name, as a cache would hand them out."""

    def __init__(self, **by_resource):
        self.all = by_resource

    def get(self, resource, namespace, name):
        return next((one for one in self.all.get(resource.plural, []) if one["metadata"]["name"] == name), None)

    def list(self, resource, namespace=None, labels=None):
        return [
            one
            for one in self.all.get(resource.plural, [])
            if (labels or {}).items() <= one["metadata"].get("labels", {}).items()
        ]


def service(name="support", available="True", stable="support-llm-1"):
    return {
        "metadata": {"name": name},
        "spec": {"model": {"uri": "file:///m.gguf"}},
        "status": {
            "stable": {"revision": stable},
            "conditions": [{"type": "Available", "status": available, "message": "no pod is ready"}],
        },
    }


def revision(digest=GOOD, version="2.1.0", name="answer-prel-1", kind="PromptRelease", owner="answer", **content):
    return {
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/managed-by": "llmops-operator",
                "llmops.dev/owner-kind": kind,
                "llmops.dev/owner-name": owner,
            },
        },
        "spec": {"digest": digest, "version": version, "content": {"serviceRef": {"name": "support"}, **content}},
    }


def release(**status):
    return {"metadata": {"name": "answer"}, "spec": {}, "status": status}


def found(target, **objects):
    return resolve(target, "shop", Objects(**objects), URL, "question")


SERVICE = {
    "llmservices": [service()],
}
SERVICE_REVISION = revision("5" * 64, name="support-llm-1", kind="LLMService", owner="support")


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ({}, "LLMService shop/support does not exist"),
        ({"llmservices": [service(available="False")]}, "not Available yet: no pod is ready"),
    ],
)
def test_a_service_that_cannot_answer_is_missing_by_name(objects, said):
    missing = found({"serviceRef": {"name": "support"}}, **objects)
    assert isinstance(missing, Missing)
    assert said in missing.sentence


def test_a_service_is_its_stable_revision_and_asked_through_the_door():
    arm = found({"serviceRef": {"name": "support"}}, revisions=[SERVICE_REVISION], **SERVICE).arm
    assert (arm.identity, arm.url, arm.model, arm.token, arm.prompt) == ("5" * 64, URL, "shop/support", True, None)


def test_a_revision_of_a_service_is_asked_by_its_digest_as_long_as_it_has_pods():
    status = {"stable": {"digest": OLD}, "candidate": {"digest": GOOD}}
    rolled = {"llmservices": [{"metadata": {"name": "support"}, "spec": {}, "status": status}]}
    for digest in (OLD, GOOD):
        arm = found({"serviceRef": {"name": "support", "revision": digest[:10]}}, **rolled).arm
        assert (arm.identity, arm.model, arm.token) == (digest, f"shop/support@{digest}", True)
    missing = found({"serviceRef": {"name": "support", "revision": "0123456789"}}, **rolled)
    assert "has no pods of revision 0123456789" in missing.sentence


def test_an_adapter_is_another_target_than_its_model_and_must_be_there():
    status = {"stable": {"digest": OLD, "adapters": ["tone"]}, "candidate": {"digest": GOOD, "adapters": ["law"]}}
    taught = {
        "llmservices": [{**SERVICE["llmservices"][0], "status": {**SERVICE["llmservices"][0]["status"], **status}}]
    }
    plain, dressed = (
        found({"serviceRef": {"name": "support", **more}}, **taught).arm for more in ({}, {"adapter": "tone"})
    )
    assert (plain.model, dressed.model) == ("shop/support", "shop/support:tone")
    assert plain.identity != dressed.identity
    pinned = found({"serviceRef": {"name": "support", "adapter": "law", "revision": GOOD[:10]}}, **taught).arm
    assert pinned.model == f"shop/support:law@{GOOD}"
    missing = found({"serviceRef": {"name": "support", "adapter": "tune"}}, **taught)
    assert "has no pods with an adapter tune" in missing.sentence


def test_an_address_is_asked_directly_and_never_given_our_token():
    arm = found({"url": "http://elsewhere/v1", "model": "gpt"}).arm
    assert (arm.url, arm.model, arm.token) == ("http://elsewhere/v1", "gpt", False)


@pytest.mark.parametrize("version", ["stable", "candidate", GOOD, GOOD[:8], "2.1.0", None])
def test_a_version_is_found_by_role_digest_beginning_or_label_and_pinned_by_digest(version):
    target = {"promptRef": {"name": "answer", **({"version": version} if version else {})}}
    arm = found(
        target,
        promptreleases=[release(stable={"digest": GOOD}, candidate={"digest": GOOD})],
        revisions=[revision(), revision(OLD, "2.0.0", "answer-prel-0"), SERVICE_REVISION],
        **SERVICE,
    ).arm
    assert arm.prompt == {"id": "shop/answer", "version": GOOD}
    assert arm.model == "shop/answer"


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("stable", "has no stable version yet"),
        ("9.9.9", "has no version 9.9.9"),
        ("deadbeef", "has no version deadbeef"),
        ("2.1.0", "write the digest instead"),
    ],
)
def test_a_version_that_is_not_there_or_not_one_is_said(version, said):
    missing = found(
        {"promptRef": {"name": "answer", "version": version}},
        promptreleases=[release()],
        revisions=[revision(), revision(OLD, "2.1.0", "answer-prel-0")],
        **SERVICE,
    )
    assert isinstance(missing, Missing)
    assert said in missing.sentence


def test_a_row_s_input_goes_into_the_variable_that_wants_it_and_retrieval_fills_its_own():
    variables = {
        "required": ["question", "context", "country"],
        "properties": {"question": {}, "context": {}, "country": {}, "tone": {}},
    }
    resolved = found(
        {"promptRef": {"name": "answer"}},
        promptreleases=[release(stable={"digest": GOOD})],
        revisions=[revision(variables=variables, indexRef={"name": "faq", "variable": "context"}), SERVICE_REVISION],
        vectorindexes=[{"metadata": {"name": "faq"}, "status": {"generation": {"active": 7}}}],
        **SERVICE,
    )
    assert isinstance(resolved, Resolved)
    assert (resolved.arm.input_variable, resolved.arm.variables) == ("question", ("country", "tone"))
    assert resolved.needs == ("country",)


def test_a_new_model_or_a_new_index_generation_is_another_target():
    def identity(stable, generation):
        return found(
            {"promptRef": {"name": "answer"}},
            promptreleases=[release(stable={"digest": GOOD})],
            revisions=[
                revision(indexRef={"name": "faq"}),
                SERVICE_REVISION,
                revision("6" * 64, name="support-llm-2", kind="LLMService", owner="support"),
            ],
            llmservices=[service(stable=stable)],
            vectorindexes=[{"metadata": {"name": "faq"}, "status": {"generation": {"active": generation}}}],
        ).arm.identity

    assert identity("support-llm-1", 1) == identity("support-llm-1", 1)
    assert len({identity("support-llm-1", 1), identity("support-llm-2", 1), identity("support-llm-1", 2)}) == 3


def test_a_prompt_that_is_measured_as_a_member_of_groups_is_another_target_and_sends_them():
    objects = {"promptreleases": [release(stable={"digest": GOOD})], "revisions": [revision(), SERVICE_REVISION]}
    plain = found({"promptRef": {"name": "answer"}}, **objects, **SERVICE)
    assert plain.seeing(()) == plain
    seeing = plain.seeing(("staff", "board"))
    assert seeing.arm.prompt == {**plain.arm.prompt, "groups": ["board", "staff"]}
    assert seeing.arm.identity == plain.seeing(("board", "staff")).arm.identity != plain.arm.identity
    served = found({"serviceRef": {"name": "support"}}, revisions=[SERVICE_REVISION], **SERVICE)
    assert served.seeing(("staff",)) == served
    within = plain.seeing((), "acme")
    assert within.arm.prompt == {**plain.arm.prompt, "tenant": "acme"}
    assert len({one.arm.identity for one in (plain, within, plain.seeing((), "b"), plain.seeing(("staff",)))}) == 4
    assert served.seeing((), "acme") == served


def test_an_arm_knows_what_its_tokens_cost_or_why_nobody_does():
    priced = service()
    priced["spec"]["pricing"] = {"inputPerMillionTokens": "0.20", "outputPerMillionTokens": "1.5", "currency": "EUR"}
    arms = [
        found(
            target,
            llmservices=[priced],
            promptreleases=[release(stable={"digest": GOOD})],
            revisions=[revision(), SERVICE_REVISION],
        ).arm
        for target in ({"serviceRef": {"name": "support"}}, {"promptRef": {"name": "answer"}})
    ]
    assert {arm.price for arm in arms} == {Price(0.2, 1.5, "EUR")}
    free = found({"serviceRef": {"name": "support"}}, revisions=[SERVICE_REVISION], **SERVICE).arm
    assert free.price is None
    assert "LLMService shop/support has no spec.pricing" in free.unpriced
    assert "is an address" in found({"url": "http://elsewhere/v1", "model": "gpt"}).arm.unpriced
