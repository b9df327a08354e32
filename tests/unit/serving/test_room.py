"""Old weights on a service's volume: kept for a return, gone when a download needs their room, users' own never."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.serving.seen import see

from llmops.serving import room
from llmops.serving.plan import plan
from llmops.serving.refused import Refused
from llmops.serving.revision import content_digest
from llmops.serving.room import Room
from llmops.serving.sources import folders

Object = dict[str, Any]
OLD, OLDER, USED = "0000000001", "0000000002", "0000000003"


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume of a hundred bytes with three models of twenty, and what is nobody's business."""
    for age, name in enumerate((USED, OLDER, OLD, "lost+found", "notes")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.gguf").write_bytes(b"x" * 20)
        os.utime(tmp_path / name, (age, age))

    def free(_: Path) -> int:
        return 100 - sum(one.stat().st_size for one in tmp_path.rglob("*.gguf"))

    monkeypatch.setattr(room, "free", free)
    return tmp_path


def left(volume: Path) -> set[str]:
    return {one.name for one in volume.iterdir()} - {"lost+found", "notes"}


@pytest.mark.parametrize(
    ("missing", "stays"), [(0, {USED, OLD, OLDER}), (20, {USED, OLD}), (40, {USED})], ids=["room", "one", "both"]
)
def test_the_oldest_go_and_no_more_than_must(volume: Path, missing: int, stays: set[str]) -> None:
    Room(volume, frozenset({USED})).make(missing, volume)
    assert left(volume) == stays


def test_what_is_kept_stays_even_if_the_download_must_end_for_it(volume: Path) -> None:
    with pytest.raises(Refused, match=r"write a larger spec.model.cache.size"):
        Room(volume, frozenset({USED, OLD, OLDER})).make(20, volume)
    assert left(volume) == {USED, OLD, OLDER}


def test_where_nobody_says_what_is_kept_nothing_goes(volume: Path) -> None:
    with pytest.raises(Refused):
        Room(volume).make(20, volume)
    assert left(volume) == {USED, OLD, OLDER}


def spec(name: str, **cache: Any) -> Object:
    kept = {"size": "1Gi", "accessMode": "ReadWriteMany", **cache}
    return {"model": {"uri": f"https://weights.example/{name}.gguf", "cache": kept}}


def revision(number: int) -> Object:
    seen = see(spec(f"v{number}"))
    made: Object = next(one for one in plan(seen).children if one["kind"] == "Revision")
    made["metadata"]["creationTimestamp"] = f"2026-01-0{number}T00:00:00Z"
    return made


def folder(number: int) -> str:
    (name,) = folders(see(spec(f"v{number}")).model)
    return name


@pytest.mark.parametrize(
    ("keep", "numbers"), [({}, {5, 4, 2}), ({"keepRevisions": 1}, {5, 2}), ({"keepRevisions": 3}, {5, 4, 3, 2})]
)
def test_a_download_is_told_to_keep_the_newest_and_what_users_are_served(keep: Object, numbers: set[int]) -> None:
    revisions = [revision(number) for number in range(1, 5)]
    status = {"stable": {"digest": revisions[1]["spec"]["digest"]}}
    job = next(
        one
        for one in plan(see(spec("v5", **keep), status=status, revisions=revisions)).children
        if one["kind"] == "Job"
    )
    (told,) = [one for one in job["spec"]["template"]["spec"]["containers"][0]["args"] if one.startswith("--keep=")]
    assert set(told.removeprefix("--keep=").split(",")) == {folder(number) for number in numbers}


def test_how_many_are_kept_makes_no_other_revision() -> None:
    assert content_digest(see(spec("v1")).service) == content_digest(see(spec("v1", keepRevisions=9)).service)
