"""A prompt and the revision of the model it was made with, moved as one: as shipped, with real models and users."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator

import pytest
from demo import acts, install, shop
from demo.stage import NAMESPACE, apply, condition, get, kubectl, load, until
from demo.users import Crowd
from tests.e2e import test_canary as canary
from tests.e2e.test_sleep import Object, service

from llmops.api import LLMService
from llmops.serving.revision import content_digest

ROLLOUT: Object = {"steps": [{"weight": 50, "minUnits": 20}], "bake": "3s", "margin": {"points": "30"}}
BAD, GOOD = (service("joint", model=model, rollout=ROLLOUT) for model in (canary.BAD, canary.GOOD))


def revision(model: Object) -> str:
    """Known before anything is applied (`llmops revision FILE`)."""
    return f"joint-llm-{content_digest(LLMService.parse(model))[:10]}"


def release(version: str, model: Object, **rollout: object) -> Object:
    made = copy.deepcopy(load("release.yaml")[0])
    made["metadata"]["name"] = "together"
    made["spec"] |= {"version": version, "serviceRef": {"name": "joint", "revision": revision(model)}}
    made["spec"]["messages"][0]["content"] = acts.BETTER
    steps = [{"weight": 40, "minUnits": 40, "minDuration": "3s"}]  # long enough to be seen, however fast users are
    online = [{"signal": "Errors"}]
    made["spec"]["rollout"] |= {"offline": [], "online": online, "steps": steps, "bake": "15s", **rollout}
    return made


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    shown = install.operator(fresh=True)
    apply(*shop.config_maps(), *load("evaluation.yaml"))
    yield shown
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def phase() -> str:
    return str((get("promptrelease", "together").get("status") or {}).get("phase"))


def said() -> str:
    return f"{phase()}: {condition(get('promptrelease', 'together'), 'Ready').get('message')}"


async def reaches(wanted: str, version: str, seconds: float = 240) -> None:
    def there() -> bool:
        found = get("promptrelease", "together")
        status = found.get("status") or {}
        fresh = status.get("observedGeneration") == found["metadata"]["generation"]
        moving = (status.get("candidate") or status.get("stable") or {}).get("version") == version
        return fresh and moving and status.get("phase") == wanted

    await asyncio.to_thread(until, f"{version} {wanted}", there, seconds, said)


def waits() -> str:
    """What the service says of its own rollout."""
    return str(condition(get("llmservice", "joint"), "Ready").get("message"))


def stable_model() -> str:
    return str((get("llmservice", "joint")["status"].get("stable") or {}).get("revision"))


async def test_a_prompt_and_its_model_reach_users_together_and_the_model_alone_only_afterwards(show: acts.Show) -> None:
    apply(BAD)
    await asyncio.to_thread(acts.until_true, "llmservice", "joint")
    apply(release("1.0.0", BAD))
    await reaches("Released", "1.0.0")
    await asyncio.to_thread(acts.until_true, "promptrelease", "together")  # the gateways know it too

    async with (
        Crowd(show.door, show.key, "together", shop.questions()) as users,
        canary.Crowd(show, "joint") as others,
    ):
        apply(GOOD, release("2.0.0", GOOD))
        await reaches("Canary", "2.0.0")
        sentence = "PromptRelease together moves it together with its prompt"
        await asyncio.to_thread(until, sentence, lambda: sentence in waits(), 60, waits)
        await reaches("Baking", "2.0.0")
        assert stable_model() == revision(BAD)
        assert others.met.keys() == {("stable", 200)}  # the model's own users met only what they had
        await reaches("Released", "2.0.0")
        # now nobody has to wait for it: the model goes on by its own steps
        new = lambda: stable_model() == revision(GOOD)  # noqa: E731
        await asyncio.to_thread(until, "the model's own rollout", new, 240, waits)
    assert users.tally.errors == 0, users.tally.messages
    assert users.tally.by_version["2.0.0"] > 40
    assert ("candidate", 200) in others.met
    assert {code for _, code in others.met} == {200}


async def test_a_prompt_that_is_rejected_takes_its_model_with_it(show: acts.Show) -> None:
    """The service is at the good model, the release at 2.0.0 (the test before)."""
    gates = {"offline": [{"evalJobRef": {"name": "support-quality"}, "metric": "exact_match", "maxDrop": "0.02"}]}
    async with Crowd(show.door, show.key, "together", shop.questions()) as users:
        apply(BAD, release("3.0.0", BAD, **gates))
        await reaches("Rejected", "3.0.0", 400)
        gone = lambda: kubectl(  # noqa: E731
            "get", "pods", "-n", NAMESPACE, "-l", f"llmops.dev/part=engine-{revision(BAD)[-10:]}", "-o", "name"
        ).strip() == ""  # fmt: skip
        await asyncio.to_thread(until, "no pods of what was rejected", gone, 180, waits)
        told = await asyncio.to_thread(waits)
    assert "which moves it together with its prompt, was rejected: change it back" in told
    assert stable_model() == revision(GOOD)
    assert users.tally.errors == 0, users.tally.messages
    assert users.tally.by_version.keys() == {"2.0.0"}


async def test_a_revision_that_nobody_knows_is_named(show: acts.Show) -> None:
    unknown = release("4.0.0", GOOD)
    unknown["metadata"]["name"] = "nowhere"
    unknown["spec"]["serviceRef"]["revision"] = "0" * 10
    apply(unknown)

    def there() -> bool:
        return "is no revision of it" in condition(get("promptrelease", "nowhere"), "Ready").get("message", "")

    await asyncio.to_thread(until, "the sentence", there, 60)
    kubectl("delete", "promptrelease", "nowhere", "-n", NAMESPACE)
