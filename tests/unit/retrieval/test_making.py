"""A generation while it is made: what goes wrong with one document, or with one try, costs no other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.retrieval.conftest import outcome_of, seen, work_of
from tests.unit.retrieval.memory import Counting, Memory, making

from llmops.kube.errors import Unreachable
from llmops.retrieval.embedder import NotEmbedded
from llmops.retrieval.ingest import main
from llmops.retrieval.ingest.making import Making
from llmops.retrieval.ingest.places import Listing
from llmops.retrieval.ingest.places.listing import File, Unreadable
from llmops.retrieval.ingest.report import Folder
from llmops.retrieval.stores.base import Generation
from llmops.retrieval.work import FAILURE
from llmops.web import Passing, Wrong

LONG = "a passage that is too long for the model"


@dataclass
class Picky(Counting):
    """Refuses LONG."""

    async def embed(self, texts: Sequence[str], _: float = 0.0, __: str = "document") -> list[list[float]]:
        if LONG in texts:
            raise NotEmbedded("too long", final=True, everything=False)
        return await super().embed(texts)


@dataclass
class Mortal(Memory):
    """Dies when everything is written, if it is told to."""

    die: bool = False

    def settle(self, _: str) -> None:
        if self.die:
            raise RuntimeError("killed")


@dataclass
class Volume:
    """A source of files, and turns that look at it."""

    folder: Path
    files: dict[str, str | Exception]
    store: Mortal = field(default_factory=Mortal)
    service: Picky = field(default_factory=Picky)
    metadata: Mapping[str, list[str]] = field(default_factory=dict)

    def made(self, **change: Any) -> Making:
        made = making(self.store, self.service, [], str(self.folder), **change)
        source = replace(made.wanted.sources[0], kind="pvc", sha256="", metadata=self.metadata)
        made.wanted = replace(made.wanted, sources=(source,))
        content = {name: one for name, one in self.files.items() if isinstance(one, str)}
        made.versions = {"faq": json.dumps(content)}
        listing = [File(name, lambda one=one: _given(one)) for name, one in self.files.items()]  # type: ignore[misc]
        made.listings = {"faq": Listing("", lambda: listing)}
        return made

    def turn(self, **change: Any) -> Generation:
        made = self.made(**change)
        return made.there() or asyncio.run(made.build())

    def texts(self, one: Generation) -> list[str]:
        return sorted(row.text for row in self.store.rows[one.collection].values())


def _given(one: str | Exception) -> bytes:
    if isinstance(one, Exception):
        raise one
    return one.encode()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path, {"a.md": "one", "b.md": "two"})


def test_what_cannot_be_read_for_now_is_looked_for_again_and_built_for_once(volume: Volume) -> None:
    volume.files["c.md"] = Passing("away")
    first = volume.turn()
    assert volume.made().there() is None  # it is looked at
    assert volume.turn() == first  # and there is nothing new
    assert len(volume.service.embedded) == 2
    volume.files["c.md"] = "three"
    assert volume.texts(volume.turn()) == ["one", "three", "two"]


def test_a_file_that_nobody_can_read_until_it_changes_is_not_looked_for_again(volume: Volume) -> None:
    volume.files["c.md"] = Unreadable("too large")
    first = volume.turn()
    again = volume.made()
    assert again.there() == first
    assert again.reading.problems == ["source faq, c.md: too large"]


@pytest.mark.parametrize("missing", [Passing("away"), Unreadable("too large")])
def test_a_build_of_what_could_be_read_goes_on_where_it_was_killed(volume: Volume, missing: Exception) -> None:
    volume.files["c.md"], volume.store.die = missing, True
    with pytest.raises(RuntimeError, match="killed"):
        volume.turn()
    volume.store.die = False
    assert volume.texts(volume.turn()) == ["one", "two"]
    assert len(volume.service.embedded) == 2


@pytest.mark.parametrize("many", [127, 128, 129])
def test_one_passage_that_the_model_refuses_is_left_out_wherever_it_stands(volume: Volume, many: int) -> None:
    volume.files = {**{f"{at:03}.md": f"Passage {at}." for at in range(many)}, "z.md": LONG}
    made = volume.made()
    built = asyncio.run(made.build())
    assert len(volume.store.rows[built.collection]) == many
    assert made.reading.problems == ["passage faq/z.md#0: too long"]


def test_one_passage_that_the_model_refuses_is_left_out_after_a_kill_too(volume: Volume) -> None:
    volume.files["z.md"], volume.store.die = LONG, True
    with pytest.raises(RuntimeError, match="killed"):
        volume.turn()
    volume.store.die = False
    assert volume.texts(volume.turn()) == ["one", "two"]


def test_a_model_that_refuses_all_says_so(volume: Volume) -> None:
    volume.files = {"a.md": LONG, "b.md": LONG}
    with pytest.raises(Wrong, match=r"too long; .* lower spec.chunking.maxTokens"):
        volume.turn()


@pytest.mark.parametrize("gone", [True, False])
def test_what_was_not_read_this_time_is_redacted_as_well(volume: Volume, gone: bool) -> None:
    volume.files["c.jsonl"] = json.dumps({"id": 1, "text": "ask bob@example.org", "by": "ann@example.org"})
    volume.turn()
    if gone:
        del volume.files["c.jsonl"]
    else:
        volume.files["c.jsonl"] = Passing("away")
    volume.metadata = {"groups": ["a@b.org"]}
    built = volume.turn(redact=True, never_delete=gone)
    row = volume.store.rows[built.collection]["faq/1#0"]
    assert (row.text, row.metadata) == ("ask [email]", {"by": "[email]", "groups": ["a@b.org"]})


def test_a_tenant_called_by_an_address_keeps_what_was_not_read_this_time(volume: Volume) -> None:
    volume.files["c.jsonl"] = json.dumps({"id": 1, "text": "one", "by": "ann@example.org"})
    volume.files["d.jsonl"] = json.dumps({"id": 2, "text": "two", "by": "ann@example.org"})
    volume.turn(tenants="by")
    volume.files["c.jsonl"] = Passing("away")
    built = volume.turn(tenants="by", redact=True)
    rows = volume.store.rows[built.collection]
    assert {name: one.metadata["by"] for name, one in rows.items()} == {
        "faq/1#0": "ann@example.org", "faq/2#0": "ann@example.org",
    }  # fmt: skip


def test_a_document_of_which_another_says_every_word_is_not_gone(volume: Volume) -> None:
    volume.files |= {f"again{at}.md": "one" for at in range(8)}
    volume.turn()
    made = volume.made(deduplicate=True, max_delete_percent=10)
    assert volume.texts(asyncio.run(made.build())) == ["one", "two"]
    assert (made.carried, made.removed) == (0, 0)
    never = volume.made(deduplicate=True, never_delete=True)
    assert volume.texts(asyncio.run(never.build())) == ["one", "two"]


async def test_an_error_that_nobody_thought_of_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def build(*_: Any) -> Any:
        raise KeyError("rows")

    monkeypatch.setattr(main, "build", build)
    (tmp_path / "work.json").write_text(work_of(seen()).dumps())
    with pytest.raises(KeyError):
        await main._run(tmp_path, tmp_path, tmp_path, Folder(tmp_path / "out"))
    told = (tmp_path / "out" / FAILURE).read_text()
    assert told == "an error of our own, which the Job's log tells in full: KeyError('rows')"


class Unreached(Folder):
    """An API server that is not there for a moment, or ever."""

    away = 1

    async def write(self, name: str, text: str) -> None:
        self.away -= 1
        if self.away >= 0:
            raise Unreachable("PATCH /api/v1/namespaces/shop/configmaps/faq: no route to host")
        await super().write(name, text)


@pytest.mark.parametrize("away", [1, 9])
@pytest.mark.parametrize("problem", [None, Wrong("no text")])
async def test_a_job_that_cannot_report_says_what_to_look_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, problem: Exception | None, away: int
) -> None:
    async def build(*_: Any) -> Any:
        if problem:
            raise problem
        return outcome_of(seen(), True)

    monkeypatch.setattr(main, "build", build)
    (tmp_path / "work.json").write_text(work_of(seen()).dumps())
    report = Unreached(tmp_path / "out")
    report.away = away
    assert await main._run(tmp_path, tmp_path, tmp_path, report) == 1  # it is tried again
    printed = capsys.readouterr().err
    assert "no route to host; a NetworkPolicy has to let its pod reach the API server" in printed
    written = tmp_path / "out" / FAILURE
    assert (written.read_text() in printed) if away == 1 else not written.exists()
