"""Which generations a build leaves behind: what queries see, what can be gone back to, and what releases name."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.retrieval.conftest import finished, seen, work_of
from tests.unit.retrieval.memory import SPACE, Counting, Memory, making

from llmops.control import Key
from llmops.retrieval import children
from llmops.retrieval.ingest import build as module
from llmops.retrieval.ingest.build import Measured, _decide
from llmops.retrieval.ingest.report import Folder
from llmops.retrieval.outcome import GateResult, Outcome
from llmops.retrieval.plan import plan
from llmops.retrieval.reconcile import CONTROLLER
from llmops.retrieval.status import status
from llmops.retrieval.stores.base import Generation
from llmops.retrieval.work import PINNED


@dataclass
class Aliased(Memory):
    """And where its alias points."""

    pointed: str = ""

    def active(self) -> Generation | None:
        return self.made.get(self.pointed)

    def point(self, one: Generation) -> None:
        self.pointed = one.collection


@dataclass
class Builds:
    """One after the other, each of another text."""

    folder: Path
    store: Aliased
    while_queries_let_go: tuple[int, ...] | None = None  # what releases name by then

    def pin(self, *generations: int) -> None:
        (self.folder / PINNED).write_text(json.dumps(generations))

    def build(self, text: str, passes: bool = True, keep: int = 2) -> Outcome:
        made = making(self.store, Counting(), [text], str(self.folder), keep_generations=keep)
        gate = GateResult("RowCount", passes, "figures")
        measured = Measured({}, (gate,), {})

        async def whole() -> Outcome:
            return await _decide(made, await made.build(), measured, Folder(self.folder), 1.0)

        return asyncio.run(whole())


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builds:
    made = Builds(tmp_path, Aliased())

    async def sleep(_: float) -> None:
        if made.while_queries_let_go is not None:
            made.pin(*made.while_queries_let_go)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return made


def test_as_many_stay_as_are_to_be_kept_and_the_last_but_one_is_there_for_going_back(builds: Builds) -> None:
    first, second, third = (builds.build(text) for text in "abc")
    assert (first.kept, second.kept, third.kept) == ((1,), (1, 2), (2, 3))
    assert (first.previous, second.previous, third.previous) == (None, first.collection, second.collection)
    assert {one.number for one in builds.store.generations()} == {2, 3}


def test_where_one_is_kept_none_is_there_for_going_back(builds: Builds) -> None:
    builds.build("a", keep=1)
    second = builds.build("b", keep=1)
    assert (second.kept, second.previous) == ((2,), None)


def test_one_that_failed_is_looked_at_until_the_next_and_the_one_before_stays_for_going_back(builds: Builds) -> None:
    first, second = builds.build("a"), builds.build("b")
    failed = builds.build("c", passes=False)
    assert (failed.kept, failed.previous) == ((1, 2), first.collection)
    assert builds.store.pointed == second.collection
    fourth = builds.build("d")
    assert (fourth.kept, fourth.previous) == ((2, 4), second.collection)
    assert {one.number for one in builds.store.generations()} == {2, 4}


def test_one_that_a_release_names_stays_also_if_it_is_named_in_the_last_moment(builds: Builds) -> None:
    builds.build("a", keep=1)
    builds.pin(1)
    assert builds.build("b", keep=1).kept == (1, 2)
    builds.while_queries_let_go = (2,)
    assert builds.build("c", keep=1).kept == (2, 3)


class Released:
    """A Reader that tells what was let go of."""

    def __init__(self) -> None:
        self.collections = list[str]()

    async def release(self, collection: str) -> None:
        self.collections.append(collection)

    async def close(self) -> None: ...


def test_what_missed_its_gates_takes_no_memory_and_what_is_served_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reader, passes = Aliased(), Released(), True

    async def space(*_: object) -> Any:
        return SPACE

    async def measured(*_: object) -> Measured:
        return Measured({}, (GateResult("RowCount", passes, "figures"),), {})

    monkeypatch.setattr("llmops.retrieval.stores.open_store", lambda *_: store)
    monkeypatch.setattr("llmops.retrieval.stores.open_reader", lambda _: reader)
    monkeypatch.setattr(module, "Embedder", lambda *_: Counting())
    monkeypatch.setattr(module, "_space", space)
    monkeypatch.setattr(module, "_measured", measured)

    def build(text: str, least: int) -> Outcome:
        gates = ({"type": "RowCount", "min": least},)
        made = making(store, Counting(), [text], str(tmp_path), gates=gates)
        monkeypatch.setattr("llmops.retrieval.ingest.read.look", lambda *_: made.listings)
        return asyncio.run(module.build(made.wanted, [], tmp_path, tmp_path, Folder(tmp_path)))

    first = build("a", 1)
    assert (first.served, reader.collections) == (True, [])
    passes = False
    second = build("b", 1)
    assert (second.served, reader.collections) == (False, [second.collection])
    again = build("a", 2)
    assert (again.collection, again.served) == (first.collection, False)
    assert reader.collections == [second.collection]


def test_a_job_that_goes_on_is_told_what_releases_name_by_now() -> None:
    one = seen(pinned=(6, 7))
    results = children.build_rights(one.index, work_of(one), one.pinned)[0]
    assert results in plan(one).children
    assert json.loads(results["data"][PINNED]) == [6, 7]


@pytest.mark.parametrize(("generation", "told"), [(6, [Key("VectorIndex", "shop", "faq")]), (None, [])])
def test_a_release_that_names_a_generation_is_told_to_its_index(generation: int | None, told: list[Key]) -> None:
    reference: dict[str, Any] = {"name": "faq", **({"generation": generation} if generation else {})}
    meta = {"name": "answer", "namespace": "shop"}
    release = {"metadata": meta, "spec": {"indexRef": reference}}
    revision = {"metadata": meta, "spec": {"content": {"indexRef": reference}}}
    turns = {one.resource.kind: one.keys for one in CONTROLLER.refers}
    nothing: Any = None
    assert [*turns["PromptRelease"](release, nothing)] == told
    assert [*turns["Revision"](revision, nothing)] == told


def test_a_collection_that_is_there_no_more_is_not_named_for_going_back() -> None:
    one = seen(status={"generation": {"active": 1, "name": "faq__g1_x", "previous": "faq__g0_x"}})
    run = finished(one, generation=2)
    told = status(replace(one, runs=(run,)), plan(replace(one, runs=(run,))), datetime(2026, 1, 1, tzinfo=UTC))
    assert "previous" not in told["generation"]
