"""Which image an engine runs, what comes before it in its pod, and what an index makes of data that went back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.retrieval.conftest import finished, merged, seen, work_of
from tests.unit.retrieval.test_index_plan import NOW, condition, message

from llmops.api import Settings
from llmops.kube.resources import DEPLOYMENT, PVC, Object, Resource
from llmops.retrieval.engines import ENGINES, opener
from llmops.retrieval.ingest.making import Making
from llmops.retrieval.observe import Seen
from llmops.retrieval.plan import State, plan
from llmops.retrieval.space import Space
from llmops.retrieval.status import status
from llmops.retrieval.stores.base import Generation
from llmops.retrieval.volume import REFUSED
from llmops.retrieval.work import Work

OLD, NEW = "milvusdb/milvus:v1", "milvusdb/milvus:v2"
NAME = "faq-index-milvus"
SENTENCE = "image v2 does not open it: write spec.engine.storage.size"


class World:
    """A namespace in which the operator's children are, and the pod that a kubelet would make of them."""

    def __init__(self, wanted: str = OLD, operator: str = "operator:1", **spec: Any) -> None:
        self.settings = Settings(image_milvus=wanted, image_operator=operator)
        self.spec: dict[str, Any] = merged({"engine": {"mode": "Standalone"}}, spec)
        self.objects: list[Object] = []
        self.pod: Object | None = None
        self.status: Object = {}
        self.retry = ""

    def get(self, resource: Resource, _: str | None, name: str) -> Object | None:
        found = [one for one in self.objects if (one["kind"], one["metadata"]["name"]) == (resource.kind, name)]
        return found[0] if found else None

    def list(self, *_: Any) -> list[Object]:
        return [self.pod] if self.pod else []

    def seen(self, **more: Any) -> Seen:
        """As observe() puts it together."""
        index = seen(self.spec, self.status or None)
        raw = {**index.raw, "metadata": {**index.raw["metadata"], "annotations": {"llmops.dev/retry": self.retry}}}
        index = replace(index, raw=raw, index=index.index.model_validate(raw), settings=self.settings)
        engine = ENGINES["Milvus", index.index.spec.engine.mode]
        standing = engine.standing(index.index, self.settings, self)
        waits = opener.told(engine.waits(index.index, self), standing)
        return replace(index, standing=standing, engine_waits=waits, **more)

    def turn(self, **more: Any) -> Seen:
        """The operator observes, plans, applies and reports."""
        found = self.seen(**more)
        made = plan(found)
        if changed := self.deployment(made.children) != self.deployment(self.objects):
            self.pod = None  # Recreate
        said = {(one["kind"], one["metadata"]["name"]): one.get("status") for one in self.objects}
        for one in made.children:
            gone = changed and one["kind"] == "Deployment"
            one["status"] = {} if gone else said.get((one["kind"], one["metadata"]["name"])) or {}
        self.objects = list(made.children)
        self.status = status(found, made, NOW)
        return found

    @staticmethod
    def deployment(objects: Any) -> Object:
        found = [one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Deployment", NAME)]
        return found[0]["spec"]["template"]["spec"] if found else {}

    @property
    def image(self) -> str:
        (engine,) = self.deployment(self.objects)["containers"]
        return str(engine["image"])

    @property
    def first(self) -> Object | None:
        found: list[Object] = self.deployment(self.objects).get("initContainers") or [None]
        return found[0]

    @property
    def arguments(self) -> Sequence[str]:
        assert self.first is not None
        given: list[str] = self.first["args"]
        return given

    def runs(self, code: int | None = 0, waiting: str = "", **said: Any) -> None:
        """Its pod is there; its first container ended like this, or has not ended."""
        state: Object = {"running": {}}
        if code is not None:
            state = {"terminated": {"exitCode": code, "message": json.dumps({"image": self.image, **said})}}
        if waiting:
            state = {"waiting": {"reason": waiting, "message": "no such image"}}
        self.pod = {
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {}},
            "spec": {"containers": [{"name": "engine", "image": self.image}]},
            "status": {"initContainerStatuses": [{"name": "volume", "state": state}]},
        }
        deployment = self.get(DEPLOYMENT, None, NAME)
        assert deployment is not None
        deployment["status"] = {"availableReplicas": 1} if code == 0 else {}

    def refuses(self, was: str = OLD) -> None:
        """The pod's first container, for want of room."""
        (asked,) = [one.removeprefix("--asked=") for one in self.arguments if one.startswith("--asked=")]
        self.runs(REFUSED, refused=SENTENCE, was=was, asked=asked)

    def grows(self, size: str) -> None:
        claim = self.get(PVC, None, NAME)
        assert claim is not None
        claim["status"] = {"capacity": {"storage": size}}


def running(**more: Any) -> World:
    """An index that is served by the old image."""
    world = World(**more)
    world.turn()
    world.runs(restored="", backup=None)
    world.turn(runs=(finished(world.seen()),))
    assert condition(world.status, "Ready") == "True"
    return world


def again(world: World, **more: Any) -> Seen:
    return world.turn(runs=(finished(world.seen()),), **more)


def test_before_an_engine_its_volume_is_opened_for_its_image() -> None:
    world = running()
    assert world.first is not None
    assert (world.image, world.first["image"]) == (OLD, "operator:1")
    assert world.first["command"] == ["python", "-m", "llmops.retrieval.volume"]
    assert {"--volume=/volume", f"--image={OLD}"} < set(world.arguments)
    assert world.first["volumeMounts"] == [{"name": "data", "mountPath": "/volume"}]


def test_an_upgrade_of_the_operator_that_leaves_an_engines_image_alone_does_not_restart_it() -> None:
    world = running()
    before, pod = world.deployment(world.objects), world.pod
    world.settings = Settings(image_milvus=OLD, image_operator="operator:2")
    again(world)
    assert (world.deployment(world.objects), world.pod) == (before, pod)
    world.settings = Settings(image_milvus=NEW, image_operator="operator:2")
    again(world)
    assert world.first is not None
    assert (world.image, world.first["image"]) == (NEW, "operator:2")


def test_an_engine_of_before_is_not_restarted_either_and_its_volume_is_told_what_it_ran() -> None:
    world = running()
    del world.deployment(world.objects)["initContainers"]
    world.runs()
    del world.pod["status"]["initContainerStatuses"]  # type: ignore[index]
    again(world)
    assert (world.first, world.pod is None) == (None, False)
    world.settings = Settings(image_milvus=NEW)
    again(world)
    assert f"--was={OLD}" in world.arguments
    world.refuses()
    again(world)  # back to the image of before, which the volume has yet to be told of
    assert (world.image, f"--was={OLD}" in world.arguments) == (OLD, True)


@pytest.mark.parametrize("state", ["state", "lastState"])
def test_an_engine_that_needs_more_memory_than_it_may_take_says_what_to_raise(state: str) -> None:
    world = running(engine={"resources": {"limits": {"memory": "3Gi"}}})
    world.runs()
    (deployment,) = [one for one in world.objects if one["kind"] == "Deployment" and one["metadata"]["name"] == NAME]
    deployment["status"] = {}
    assert world.pod is not None
    world.pod["spec"]["containers"] = world.deployment(world.objects)["containers"]
    ended = {"name": "engine", "ready": False, state: {"terminated": {"reason": "OOMKilled"}}}
    world.pod["status"]["containerStatuses"] = [ended]
    again(world)
    said = "it needed more memory than 3Gi and was ended: raise spec.engine.resources.limits.memory"
    assert message(world.status, "EngineReady") == said
    world.pod["status"]["containerStatuses"] = [{**ended, "ready": True}]
    standing = world.get(DEPLOYMENT, None, NAME)
    assert standing is not None
    standing["status"] = {"availableReplicas": 1}
    again(world)
    assert condition(world.status, "Ready") == "True"


@pytest.mark.parametrize("waiting", ["ErrImagePull", "ImagePullBackOff"])
def test_where_the_first_containers_own_image_is_gone_it_is_made_of_the_operators_of_today(waiting: str) -> None:
    world = running()
    world.settings = Settings(image_milvus=OLD, image_operator="operator:2")
    world.runs(None, waiting=waiting)
    again(world)
    assert world.first is not None
    assert world.first["image"] == "operator:2"
    world.runs(None, waiting=waiting)
    found = again(world)
    assert world.pod is not None  # it is not made again and again
    assert found.engine_waits is not None
    assert f"its volume cannot be looked at: {waiting}: no such image" in message(world.status, "EngineReady")


def test_an_image_of_the_spec_goes_before_the_operators_own() -> None:
    world = running(engine={"image": "mirror/milvus:v1"})
    world.settings = Settings(image_milvus=NEW)
    again(world)
    assert world.image == "mirror/milvus:v1"


def test_while_a_volume_is_made_ready_the_condition_says_so() -> None:
    world = running()
    world.settings = Settings(image_milvus=NEW)
    again(world)
    world.runs(None)
    again(world)
    assert condition(world.status, "EngineReady") == "False"
    assert message(world.status, "EngineReady").startswith(f"its volume is made ready for image {NEW}")


def refused() -> World:
    world = running()
    world.settings = Settings(image_milvus=NEW)
    again(world)
    assert world.image == NEW
    world.refuses()
    again(world)
    return world


def test_an_image_that_is_refused_leaves_the_one_before_serving_and_the_condition_says_what_to_write() -> None:
    world = refused()
    assert (world.image, world.pod) == (OLD, None)
    world.runs(restored="", backup=None)
    for _ in range(2):
        again(world)
        assert (world.image, world.pod is None) == (OLD, False)
        assert condition(world.status, "EngineReady") == condition(world.status, "Ready") == "False"
        assert condition(world.status, "Available") == condition(world.status, "Stalled") == "True"
        assert message(world.status, "EngineReady") == f"{SENTENCE}; image {OLD} goes on"


@pytest.mark.parametrize("by", ["size", "backup", "retry"])
def test_a_refused_image_is_tried_again_when_something_is_different(by: str) -> None:
    world = refused()
    world.runs(restored="", backup=None)
    again(world)
    if by == "size":
        world.grows("20Gi")
    elif by == "backup":
        world.spec = merged(world.spec, {"engine": {"backup": "Never"}})
    else:
        world.retry = "1"
    again(world)
    assert (world.image, "--without-backup" in world.arguments) == (NEW, by == "backup")
    world.refuses()  # not enough
    again(world)
    assert world.image == OLD
    world.runs(restored="", backup=None)
    again(world)
    assert (world.image, world.pod is None) == (OLD, False)


def test_a_refusal_by_what_was_known_before_is_tried_again_at_once() -> None:
    world = running()
    world.settings = Settings(image_milvus=NEW)
    again(world)
    world.refuses()
    world.spec = merged(world.spec, {"engine": {"backup": "Never"}})  # while the operator was away
    again(world)
    assert (world.image, "--without-backup" in world.arguments) == (NEW, True)


def test_a_refused_image_that_was_let_in_is_not_spoken_of_any_more() -> None:
    world = refused()
    world.grows("20Gi")
    again(world)
    world.runs(restored="", backup={"image": OLD, "at": 0, "bytes": 2**30})
    again(world)
    world.grows("10Gi")
    again(world)
    assert world.image == NEW
    kept = f"what image {OLD} wrote until 1970-01-01T00:00:00Z is kept on its volume (1.00 GiB)"
    assert message(world.status, "EngineReady") == f"the vector database answers; {kept}"


def test_where_nobody_knows_the_image_of_before_the_refused_one_waits_and_says_why() -> None:
    world = World(wanted=NEW)
    world.turn()
    world.refuses(was="")
    world.turn()
    assert (world.image, message(world.status, "EngineReady")) == (NEW, SENTENCE)
    world.spec = merged(world.spec, {"engine": {"backup": "Never"}})
    world.turn()
    assert "--without-backup" in world.arguments


def test_a_refused_image_that_found_room_by_itself_is_refused_no_more() -> None:
    world = World(wanted=NEW)
    world.turn()
    world.refuses(was="")
    again(world)
    world.runs(restored="", backup=None)  # the kubelet tries it again and again
    again(world)
    assert condition(world.status, "EngineReady") == condition(world.status, "Ready") == "True"


def test_data_that_went_back_are_looked_at_and_what_is_missing_is_built_from_what_is_there() -> None:
    world = running()
    before = work_of(world.seen())
    world.runs(restored="r1", backup=None)
    work = work_of(world.seen())
    assert work.parts.key != before.parts.key
    assert work.read({}).parts.collection == before.read({}).parts.collection  # found where it is there
    found = world.turn(runs=(finished_before(before, world),))
    made = plan(replace(found, runs=(finished_before(before, world),)))
    assert made.state is State.BUILDING
    assert "went back to what it was" in message(world.status, "Ready")
    assert "what the vector database went back to goes on serving" in message(world.status, "Ready")
    assert message(world.status, "Available") == "what the vector database went back to answers"
    assert made.work is not None
    assert made.work.copy_vectors

    # its pod is started anew, and has not said it again yet: it is no other work
    world.runs(None)
    assert work_of(world.seen()).parts.key == work.parts.key
    world.runs(restored="r1", backup=None)
    again(world)
    assert condition(world.status, "Ready") == "True"
    assert message(world.status, "Available") == "generation 1 answers"
    assert not world.seen().standing.went_back


def test_an_index_whose_volume_was_lost_is_built_anew_and_one_that_was_never_built_says_nothing_of_it() -> None:
    world = World()
    world.turn()
    world.runs(restored="", began="b1", backup=None)
    world.turn()
    assert message(world.status, "Ready") == "building a new generation, embedding every passage"
    before = work_of(again(world))
    assert condition(world.status, "Ready") == "True"

    world.runs(None)  # on the same volume
    again(world)
    assert work_of(world.seen()).parts.key == before.parts.key

    there = finished(world.seen())
    world.runs(restored="", began="b2", backup=None)
    world.turn(runs=(there,), servers_ready=0)
    assert message(world.status, "Ready") == "the vector database's volume is an empty one: everything is built anew"
    assert condition(world.status, "Available") == "False"
    assert {"Job"} < {one["kind"] for one in world.objects}
    assert work_of(world.seen()).after == 1  # no generation gets the number of a lost one
    again(world)
    assert (condition(world.status, "Ready"), world.seen().standing.emptied) == ("True", False)


def finished_before(_: Any, world: World) -> Any:
    """The run of the work of before, whose outcome is still there."""
    now, world.pod = world.pod, None
    run = finished(replace(world.seen(), standing=opener.Standing()))
    world.pod = now
    return run


def allowed(world: World) -> Any:
    """Whom the engine's NetworkPolicy lets in."""
    (policy,) = [one for one in world.objects if (one["kind"], one["metadata"]["name"]) == ("NetworkPolicy", NAME)]
    return policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"].get("llmops.dev/part")


@pytest.mark.parametrize("rules", [{}, {"permissions": {"field": "groups"}}, {"tenants": {"field": "customer"}}])
def test_who_might_see_a_passage_then_does_not_find_it_now(rules: Any) -> None:
    world = running(query=rules)
    assert allowed(world) is None
    before = finished(world.seen())
    world.runs(restored="r1", backup=None)
    world.turn(runs=(before,))
    assert allowed(world) == ("build" if rules else None)
    assert condition(world.status, "Available") == ("False" if rules else "True")
    again(world)
    assert (allowed(world), condition(world.status, "Available")) == (None, "True")


@pytest.mark.parametrize("rules", [{}, {"permissions": {"field": "groups"}}, {"tenants": {"field": "customer"}}])
def test_an_engine_of_another_image_is_closed_before_it_starts_and_open_once_nothing_went_back(rules: Any) -> None:
    """The operator may end in between, and its engine would answer."""
    closed = "build" if rules else None
    fresh = World(query=rules)  # whose volume may be one that was kept
    fresh.turn()
    assert allowed(fresh) == closed
    world = running(query=rules)
    world.runs(None)  # started anew with the image it had: nothing goes back
    again(world)
    assert allowed(world) is None
    world.settings = Settings(image_milvus=NEW)
    again(world)
    assert (world.image, allowed(world)) == (NEW, closed)
    kinds = [one["kind"] for one in world.objects if one["metadata"]["name"] == NAME]
    assert kinds.index("NetworkPolicy") < kinds.index("Deployment")
    world.runs(None)  # still at work on the volume
    again(world)
    assert allowed(world) == closed
    world.runs(restored="", backup=None)
    assert world.pod is not None
    world.pod["spec"] = {**world.deployment(world.objects), "containers": [{"name": "engine", "image": "mirror/v2"}]}
    again(world)
    assert (allowed(world), condition(world.status, "Available")) == (None, "True")


def test_a_generation_gets_no_number_that_another_had_though_the_engine_has_forgotten_it() -> None:
    world = running()
    assert work_of(world.seen()).after == 1
    world.status["generation"]["kept"] = [3, 7]
    assert work_of(world.seen()).after == 7
    before = replace(work_of(world.seen()), after=0)
    assert before.parts == work_of(world.seen()).parts  # which costs nothing
    assert [begun(replace(before, after=after)) for after in (0, 7)] == [3, 8]


def begun(work: Work) -> int:
    """The number of a generation that is begun where two are there."""
    told = {"complete": True, "identity": "of another content"}
    there = [Generation(f"faq__g{at}", {**told, "generation": at}) for at in (1, 2)]
    store = SimpleNamespace(generations=lambda: there, create=lambda name, _, __, told: Generation(name, told))
    nothing: Any = None
    making = Making(work, {}, Space(((1.0,),)), nothing, store, nothing, nothing, nothing)
    return making._begun()[0].number


def test_an_unfinished_engine_of_another_mode_knows_nothing_of_this_ones_data() -> None:
    world = running()
    world.runs(restored="r1", backup=None)
    world.turn()
    world.spec = merged(world.spec, {"engine": {"mode": "Lite"}})
    world.pod = None
    assert world.seen().standing.restored == ""
