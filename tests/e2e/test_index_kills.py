"""Builds that are killed, sources that fail in part, and schedules that find nothing new: the Job's own process, a real
Milvus Lite and a real embedding model."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path
from typing import cast

import pytest
from pymilvus import MilvusClient
from tests.e2e.test_index_engine import Index, embedder, engine, milvus_lite, until
from tests.ports import free_port

from llmops.retrieval.outcome import loads
from llmops.retrieval.passage import Passage
from llmops.retrieval.work import SourceWork

__all__ = ["milvus_lite"]  # a fixture
KILLS = 50
PACED = 25  # kills in which a build comes to its end: fast machines are given less time between two, slow ones more


def real_texts(many: int) -> list[dict[str, str]]:
    """Paragraphs that people wrote: what the installed packages say of themselves."""
    found: list[dict[str, str]] = []
    for one in sorted(distributions(), key=lambda each: each.metadata["Name"].lower()):
        name, text = one.metadata["Name"], cast("Message", one.metadata).get_payload() or ""
        parts = [" ".join(part.split()[:30]) for part in str(text).split("\n\n")]
        found += [{"id": f"{name}-{at}", "answer": part} for at, part in enumerate(parts)
                  if part.count(" ") > 5 and len(part) < 400]  # fmt: skip
        if len(found) >= many:
            return found[:many]
    return found


@pytest.fixture
def index(tmp_path: Path, milvus_lite: Path) -> Iterator[Index]:
    one = Index(tmp_path, free_port(), free_port())
    one.questions = []
    with engine(milvus_lite, tmp_path / "data", one.engine_port), embedder(one.embedder_port):
        yield one


def stored(index: Index, collection: str) -> dict[str, list[str]]:
    """Each row's hashes by its id: one each, if nothing is doubled."""
    client = MilvusClient(uri=f"http://127.0.0.1:{index.engine_port}")
    found: dict[str, list[str]] = {}
    pages = client.query_iterator(collection, batch_size=1000, output_fields=["id", "hash"])
    while page := pages.next():
        for row in page:
            found.setdefault(row["id"], []).append(row["hash"])
    pages.close()
    client.close()
    return found


@contextmanager
def killed(running: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """It is killed at the end of the block, where it still runs."""
    with running:
        try:
            yield running
        finally:
            running.kill()


def started(index: Index) -> subprocess.Popen[bytes]:
    """`llmops index`, as its pod would begin it anew."""
    given, out = index.folder / "work", index.folder / "out"
    given.mkdir(exist_ok=True)
    (given / "work.json").write_text(index.work.dumps())
    command = [sys.executable, "-m", "llmops.cli", "index", "--work", str(given), "--mounted",
               str(index.folder / "mounted"), "--scratch", str(index.folder), "--report", str(out)]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_build_that_is_stopped_ends_at_once_though_no_signal_ends_a_containers_first_process(index: Index) -> None:
    index.documents([{"id": f"row-{at}", "answer": f"The {at}th lamp is waterproof."} for at in range(3000)])
    with killed(started(index)) as job:
        until(lambda: (index.folder / "out/progress.json").exists())
        job.terminate()
        assert job.wait(5) == 128 + signal.SIGTERM  # its own word: unheard, it would be the negative number
    assert not (index.folder / "out/outcome.json").exists()


def ends(index: Index) -> None:
    """Nobody kills it this time."""
    with killed(started(index)) as job:
        assert job.wait(300) == 0


def test_a_build_that_is_killed_at_fifty_moments_has_every_row_once_and_embeds_little_twice(index: Index) -> None:
    rows = real_texts(1500)
    index.documents(rows)
    index.work = replace(index.work, chunking={"strategy": "Document", "maxTokens": 200, "overlap": 0})
    chance, out = random.Random(11), index.folder / "out/outcome.json"
    progress = index.folder / "out/progress.json"
    kills, seconds = 0, 1.0
    while kills < KILLS and not out.exists():
        progress.unlink(missing_ok=True)
        with killed(started(index)) as job:
            if kills % 2:  # between its first and its last row; every other one anywhere
                until(lambda: progress.exists() or job.poll() is not None)
            moment = time.monotonic() + chance.random() * seconds
            while job.poll() is None and time.monotonic() < moment:
                time.sleep(0.02)
            kills += job.poll() is None
        if progress.exists():
            behind = json.loads(progress.read_text())["done"] / len(rows) < kills / PACED
            seconds = min(seconds * 2, 4.0) if behind else max(seconds / 2, 0.1)
    if not out.exists():
        ends(index)
    outcome = loads(out.read_text())
    wanted = {f"faq/{row['id']}#0": [Passage("", "", "", row["answer"].strip(), {}).hash] for row in rows}
    assert stored(index, outcome.collection) == wanted
    assert (outcome.served, outcome.rows) == (True, len(rows))
    assert kills >= 20
    assert outcome.embedded < len(rows) // 2  # what was there stays there
    print(f"killed {kills} times, {outcome.embedded} of {outcome.rows} passages embedded by the last try")


def on_a_volume(index: Index, **texts: str) -> Path:
    """The source `faq` as files of a claim."""
    folder = index.folder / "mounted/sources/docs"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text)
    index.work = replace(index.work, sources=(SourceWork("docs", "Auto", "id", "text", kind="pvc", address="/"),))
    return folder


def look(index: Index, turn: str) -> None:
    """As a turn of the schedule begins: another look at the same source."""
    index.work = replace(index.work, sources=tuple(replace(one, look=turn) for one in index.work.sources))


def test_a_turn_that_finds_nothing_new_costs_a_look_and_a_changed_file_one_passage(index: Index) -> None:
    folder = on_a_volume(index, boots="Boots are warm.", tents="A tent has two poles.", stoves="Stoves burn gas.")
    first = index.build(copy_vectors=True)
    assert (first.rows, first.embedded) == (3, 3)
    look(index, "2026-01-01T00:00:00Z")
    second = index.build(copy_vectors=True)
    assert (second.generation, second.embedded, second.measured) == (first.generation, 0, first.measured)
    (folder / "tents.md").write_text("A tent has three poles.")
    look(index, "2026-01-02T00:00:00Z")
    third = index.build(copy_vectors=True)
    assert (third.generation, third.rows, third.embedded) == (first.generation + 1, 3, 1)


def test_a_document_that_breaks_stays_as_it_was_and_is_named(index: Index) -> None:
    folder = on_a_volume(index, boots="Boots are warm.", tents="A tent has two poles.", stoves="Stoves burn gas.")
    assert index.build(copy_vectors=True).rows == 3
    (folder / "boots.md").write_bytes(b"\x00\x01\xff" * 50)
    (folder / "stoves.md").unlink()
    look(index, "2")
    second = index.build(copy_vectors=True, max_delete_percent=50)
    assert (second.rows, second.carried, second.removed, second.skipped) == (2, 1, 1, 1)
    assert second.problems == ("source docs, boots.md: no Markdown that can be read (ValueError: it is no text)",)
    assert stored(index, second.collection).keys() == {"docs/boots.md#0", "docs/tents.md#0"}

    # never delete, where that is asked for
    (folder / "tents.md").unlink()
    (folder / "ropes.md").write_text("Ropes are sixty metres long.")
    look(index, "3")
    third = index.build(copy_vectors=True, never_delete=True)
    assert (third.rows, third.carried, third.removed) == (3, 2, 0)

    # but a source that a person took out of the spec goes, if that is not too much at once
    (other := index.folder / "mounted/sources/other").mkdir()
    (other / "sledges.md").write_text("Sledges are not rented out.")
    both = (*index.work.sources, SourceWork("other", "Auto", "id", "text", kind="pvc", address="/"))
    assert index.build(sources=both).rows == 4
    without = replace(index.work.sources[1], look="4")
    code, out = index.run(sources=(without,), max_delete_percent=30)
    assert (code, "3 of 4 documents are gone" in (out / "failure.txt").read_text()) == (3, True)
    last = index.build(max_delete_percent=75)
    assert (last.rows, last.carried, last.removed) == (1, 0, 3)


def test_passages_that_are_cut_anew_keep_the_vectors_of_equal_texts(index: Index) -> None:
    long = " ".join(row["answer"] for row in real_texts(40))
    on_a_volume(index, boots="Boots are warm.", long=long)
    first = index.build(copy_vectors=True, chunking={"strategy": "Semantic", "maxTokens": 60, "overlap": 0})
    second = index.build(copy_vectors=True, chunking={"strategy": "Semantic", "maxTokens": 120, "overlap": 0})
    assert second.rows < first.rows
    assert second.embedded < second.rows  # the short document has one passage either way


def test_an_engine_that_is_killed_while_rows_are_written_loses_none(tmp_path: Path, milvus_lite: Path) -> None:
    index, rows = Index(tmp_path, free_port(), free_port()), real_texts(800)
    index.questions = []
    index.documents(rows)
    index.work = replace(index.work, chunking={"strategy": "Document", "maxTokens": 200, "overlap": 0})
    out, chance = tmp_path / "out/outcome.json", random.Random(5)
    command = [str(milvus_lite), "server", "--data-dir", str(tmp_path / "data"), "--host", "127.0.0.1", "--port",
               str(index.engine_port)]  # fmt: skip
    with embedder(index.embedder_port):
        for _ in range(8):
            running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with killed(running), killed(started(index)) as job:
                end = time.monotonic() + 3.0 + chance.random() * 3.0
                while job.poll() is None and time.monotonic() < end:
                    time.sleep(0.05)
            if out.exists():
                break
        with engine(milvus_lite, tmp_path / "data", index.engine_port):
            ends(index)
            outcome = loads(out.read_text())
            found = stored(index, outcome.collection)
    assert len(found) == len(rows)
    assert all(len(hashes) == 1 for hashes in found.values())
    assert json.loads((tmp_path / "out/progress.json").read_text())["stage"] == "Measuring"


def test_the_scratch_and_not_the_memory_holds_what_there_is_much_of(index: Index) -> None:
    """Peak memory of a build of 1,500 passages is that of one of a hundred, give or take."""

    def peak() -> int:
        most = 0
        with killed(started(index)) as job:
            while job.poll() is None:
                status = Path(f"/proc/{job.pid}/status")
                text = status.read_text() if status.exists() else ""
                most = max([most, *(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM"))])
                time.sleep(0.05)
        assert job.returncode == 0
        return most

    index.work = replace(index.work, chunking={"strategy": "Document", "maxTokens": 200, "overlap": 0})
    index.documents(real_texts(100))
    small = peak()
    (index.folder / "out/outcome.json").unlink()
    index.documents(real_texts(1500))
    large = peak()
    print(f"peak memory {small >> 10} MiB for 100 passages, {large >> 10} MiB for 1,500")
    assert large - small < 60 << 10
