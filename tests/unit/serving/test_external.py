"""A service that somebody else serves: ready when its Provider is, and never a pod."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.serving.seen import Object, see

from llmops.serving.external import Offer
from llmops.serving.observe import Seen
from llmops.serving.plan import plan
from llmops.serving.status import status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EXTERNAL = {"model": None, "engine": None, "replicas": None,
            "external": {"providerRef": {"name": "openai"}, "model": "gpt-4o-mini"}}  # fmt: skip


def provider(status: str = "True", message: str = "asked at …") -> Object:
    return {"status": {"conditions": [{"type": "Ready", "status": status, "message": message}]}}


def abroad(raw: Object | None, admits: bool = True, **more: Any) -> Seen:
    return see(EXTERNAL, offer=Offer("openai", raw, admits), **more)


def said(seen: Seen, kind: str = "Ready") -> tuple[str, str, str]:
    told = status(seen, plan(seen), NOW)
    one = next(one for one in told["conditions"] if one["type"] == kind)
    return one["status"], one["reason"], one["message"]


@pytest.mark.parametrize(
    ("raw", "admits", "gateways", "told"),
    [
        (provider(), True, [1, 1], ("True", "AsWanted", "Provider openai answers, as gpt-4o-mini")),
        (provider(), True, [], ("True", "AsWanted", "Provider openai answers")),
        (None, False, [], ("False", "ReferenceMissing", "there is no Provider openai")),
        (provider(), False, [], ("False", "ReferenceNotAllowed", "does not admit this namespace")),
        (provider("False", "no key"), True, [], ("False", "ReferenceNotReady", "is not ready: no key")),
        ({}, True, [], ("False", "ReferenceNotReady", "nothing is known of it yet")),
        (provider(), True, [1, 0], ("False", "GatewaysBehind", "1 of 2 gateways do not know it yet")),
    ],
)
def test_it_is_ready_when_its_provider_and_the_gateways_are(
    raw: Object | None, admits: bool, gateways: list[int], told: tuple[str, str, str]
) -> None:
    found = said(abroad(raw, admits, gateways=gateways))
    assert found[:2] == told[:2]
    assert told[2] in found[2]
    assert said(abroad(raw, admits, gateways=gateways), "Available")[0] == told[0]


def test_it_has_a_revision_and_nothing_else() -> None:
    made = plan(abroad(provider()))
    assert [one["kind"] for one in made.children] == ["Revision"]
    assert made.children == made.keep
    content = made.children[0]["spec"]["content"]
    assert content == {"external": {"providerRef": {"name": "openai"}, "model": "gpt-4o-mini"}}


def test_what_runs_is_left_alone_until_the_provider_is_ready() -> None:
    assert plan(abroad(None)).children == ()


def test_the_stable_revision_is_what_answers_and_stays_in_the_status_meanwhile() -> None:
    first = status(abroad(provider()), plan(abroad(provider())), NOW)["stable"]
    assert first["revision"].startswith("support-llm-")
    away = replace(abroad(provider("False")), raw={**abroad(None).raw, "status": {"stable": first}})
    assert status(away, plan(away), NOW)["stable"] == first
