"""The index Job and the query server as the processes they are, against a real Milvus Lite and a real small model."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from tests.ports import free_port
from tests.unit.retrieval.databases import milvus_lite_program

from llmops.retrieval.outcome import Outcome, loads
from llmops.retrieval.volume.opened import open_for
from llmops.retrieval.work import PINNED, EmbeddingWork, SourceWork, Work, alias_of, content_sha256

ROOT = Path(__file__).parents[2]
ROWS = [json.loads(line) for line in (ROOT / "tests/models/shop-qa.jsonl").read_text().splitlines()]
ANN = {"type": "AnnRecall", "atK": 10, "min": "0.95"}


def until(test: Callable[[], Any], seconds: float = 60) -> Any:
    """Waits until `test` gives something; what it gave."""
    end = time.monotonic() + seconds
    while not (found := test()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)
    return found


@contextmanager
def process(
    *command: str, stop: signal.Signals = signal.SIGTERM, stderr: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as its block."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        yield running
    finally:
        running.send_signal(stop)
        try:
            running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def answers(port: int) -> Callable[[], bool]:
    def open_() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    return open_


def post(url: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


@pytest.fixture(scope="session")
def milvus_lite() -> Path:
    """The server's program."""
    return milvus_lite_program()


@contextmanager
def engine(program: Path, data: Path, port: int) -> Iterator[None]:
    with process(str(program), "server", "--data-dir", str(data), "--host", "127.0.0.1", "--port", str(port),
                 stop=signal.SIGINT):  # fmt: skip
        until(answers(port))
        yield


@contextmanager
def embedder(port: int, pooling: str = "mean") -> Iterator[None]:
    with process(sys.executable, str(ROOT / "images/llamacpp/serve.py"), "--model",
                 str(ROOT / "build/models/minilm.gguf"), "--alias", "shop/minilm", "--host", "127.0.0.1", "--port",
                 str(port), "--context-length", "512", "--embeddings", "--pooling", pooling,
                 "--drain-seconds", "0"):  # fmt: skip
        until(answers(port))
        yield


class Index:
    """The parts of one index, started by hand."""

    def __init__(self, folder: Path, engine_port: int, embedder_port: int) -> None:
        self.folder, self.port = folder, free_port()
        self.engine_port, self.embedder_port = engine_port, embedder_port
        self.more: tuple[str, ...] = ()  # options of the query server
        self.questions = [{"question": row["question"], "documents": [row["id"]]} for row in ROWS]
        self.work = Work(
            "shop/faq", alias_of("shop", "faq"), f"http://127.0.0.1:{engine_port}", (),
            {"strategy": "Semantic", "maxTokens": 200, "overlap": 20},
            EmbeddingWork(f"http://127.0.0.1:{embedder_port}/v1", "shop/minilm", "r1"),
            "HNSW", "Cosine", {"M": 16, "efConstruction": 200}, {"ef": 64}, (ANN,),
        )  # fmt: skip
        self.documents(ROWS)

    def documents(self, rows: list[dict[str, str]]) -> None:
        self.work = replace(self.work, sources=(self.texts("faq", rows),))

    def texts(self, name: str, rows: list[dict[str, Any]], **metadata: list[str]) -> SourceWork:
        """A ConfigMap of rows: their answers, and whose they are."""
        kept = [{"id": row["id"], "text": row["answer"], "groups": row.get("groups")} for row in rows]
        text = "".join(json.dumps({key: value for key, value in row.items() if value}) + "\n" for row in kept)
        (self.folder / "mounted/sources" / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "mounted/sources" / name / "qa.jsonl").write_text(text)
        return SourceWork(name, "Auto", "id", "text", content_sha256({"qa.jsonl": text.encode()}), metadata=metadata)

    def pin(self, *generations: int) -> None:
        """As releases name these."""
        (self.folder / "out" / PINNED).write_text(json.dumps(generations))

    def build(self, **change: Any) -> Outcome:
        """`llmops index`, to its outcome."""
        code, folder = self.run(**change)
        assert code == 0, (folder.parent / "job.log").read_text()[-3000:]
        return loads((folder / "outcome.json").read_text())

    def run(self, **change: Any) -> tuple[int, Path]:
        self.work = replace(self.work, **change)
        given, out = self.folder / "work", self.folder / "out"
        given.mkdir(exist_ok=True)
        (given / "work.json").write_text(self.work.dumps())
        (given / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in self.questions))
        with (self.folder / "job.log").open("wb") as log, process(
            sys.executable, "-m", "llmops.cli", "index", "--work", str(given), "--mounted",
            str(self.folder / "mounted"), "--scratch", str(self.folder), "--report", str(out), stderr=log,
        ) as job:  # fmt: skip
            return job.wait(300), out

    @contextmanager
    def serving(self) -> Iterator[None]:
        """`llmops retrieve`."""
        with process(sys.executable, "-m", "llmops.cli", "retrieve", "--index", "shop/faq", "--engine",
                     self.work.engine, "--alias", self.work.alias, "--host", "127.0.0.1",
                     "--port", str(self.port), *self.more):  # fmt: skip
            until(answers(self.port))
            yield

    def search(self, text: str, **more: Any) -> tuple[int, dict[str, Any]]:
        return post(f"http://127.0.0.1:{self.port}/search", {"text": text, "topK": 1, **more})

    def found(self, text: str) -> str | None:
        """The first passage's name."""
        status, answer = self.search(text)
        return answer["passages"][0]["id"] if status == 200 else None


@pytest.fixture
def index(tmp_path: Path, milvus_lite: Path) -> Iterator[Index]:
    one = Index(tmp_path, free_port(), free_port())
    with (
        engine(milvus_lite, tmp_path / "data", one.engine_port),
        embedder(one.embedder_port),
    ):
        yield one


def test_generations_are_gated_reused_and_flipped_under_a_running_query_server(index: Index) -> None:
    retrieval = {"type": "Retrieval", "evalJobRef": {"name": "q"}}
    with index.serving():
        assert index.search("How do I change my email address?")[0] == 503  # nothing is served yet, and it says so
        first = index.build(gates=(ANN, {**retrieval, "atK": 1, "min": "0.6"}, {**retrieval, "atK": 4, "min": "0.8"}))
        assert (first.served, first.rows, first.embedded, first.dimensions) == (True, 100, 100, 384)
        assert 0.60 <= float(first.measured["retrievalRecallAt1"]) <= 0.68  # of the model itself: 0.64
        assert 0.80 <= float(first.measured["retrievalRecallAt4"]) <= 0.92
        until(lambda: index.found("How do I change my email address?") == "faq/q001#0", 60)

        # a gate it cannot pass: built, kept, not served
        index.documents([*ROWS, {"id": "new", "answer": "Snow shoes are rented out for nine euros a day."}])
        bad = index.build(gates=({"type": "RowCount", "min": 1000},), copy_vectors=True)
        assert (bad.served, bad.embedded, bad.generation) == (False, 1, 2)
        assert "101 passages, less than the wanted 1000" in bad.failed
        assert index.search("snow shoes")[1]["generation"] == 1

        # the same content with a gate it passes is measured, not built; the flip needs no restart
        good = index.build(gates=(ANN,))
        assert (good.served, good.embedded, good.collection) == (True, 0, bad.collection)
        until(lambda: index.found("Can I rent snow shoes?") == "faq/new#0", 60)

        # another index parameter copies every vector; going back to generation 1 costs a measurement
        assert index.build(parameters={"M": 8, "efConstruction": 100}).embedded == 0
        status, answer = index.search("snow", filter="source == 'faq' and document != 'faq/new'")
        assert (status, answer["passages"][0]["source"] != "faq/new") == (200, True)
        assert index.search("snow", filter="bad (((")[0] == 400


def test_a_generation_that_a_release_names_is_never_removed_and_is_searched_beside_the_active_one(index: Index) -> None:
    index.questions = []
    question, newest = "Can I rent snow shoes?", {"id": "new", "answer": "Snow shoes are rented out for nine euros."}
    with index.serving():
        first = index.build(keep_generations=1)
        index.documents([*ROWS, newest])
        index.pin(first.generation)
        second = index.build(copy_vectors=True)
        assert second.kept == (first.generation, second.generation)
        status, answer = index.search(question, generation=second.generation)  # not seen yet that it is active
        assert (status, answer["passages"][0]["id"]) == (200, "faq/new#0")
        until(lambda: index.found(question) == "faq/new#0", 60)
        status, answer = index.search(question, generation=first.generation)
        assert (status, answer["generation"]) == (200, first.generation)
        assert answer["passages"][0]["id"] != "faq/new#0"
        status, answer = index.search(question, generation=second.generation)
        assert (status, answer["passages"][0]["id"]) == (200, "faq/new#0")

        # nobody names it any more: the next build removes it, and whoever asks is told
        index.documents([*ROWS, newest, {"id": "more", "answer": "Sledges are not rented out."}])
        index.pin()
        third = index.build(copy_vectors=True)
        assert third.kept == (third.generation,)
        until(lambda: index.search(question, generation=first.generation)[0] == 503, 60)
        status, answer = index.search(question, generation=first.generation)
        assert "it is gone, or never passed its gates" in answer["error"]["message"]
        assert index.search(question, generation=0)[0] == 400


def test_ef_is_raised_until_the_recall_gate_passes(index: Index) -> None:
    index.questions = []
    index.documents([{"id": f"{row['id']}-{at}", "answer": f"{at} {row['answer']}"} for at in range(4) for row in ROWS])
    links = {"M": 16, "efConstruction": 200}  # with too few of them no ef is enough
    poor = index.build(parameters=links, search={"ef": 11}, gates=({**ANN, "min": "1.0"},))
    assert not poor.served
    tuned = index.build(auto_tune=True)
    assert (tuned.served, tuned.embedded, tuned.measured["annRecallAt10"]) == (True, 0, "1.000")
    assert int(tuned.measured["ef"]) > 11
    assert [one["ef"] for one in tuned.curve] == [11 * 2**at for at in range(len(tuned.curve))]
    assert tuned.curve[-1]["recall"] == "1.000"


def test_more_than_may_be_embedded_unasked_waits_and_costs_nothing_until_it_is_approved(index: Index) -> None:
    index.questions = []
    code, out = index.run(ask_above={"passages": 99})
    waits = json.loads((out / "waiting.json").read_text())
    assert (code, waits["passages"], (out / "outcome.json").exists()) == (0, 100, False)
    words = sum(len(row["answer"].split()) for row in ROWS)
    assert words < waits["tokens"] < 2 * words  # by the model's own tokens
    first = index.build(ask_above={})
    assert (first.served, first.embedded, first.pace > 0) == (True, 100, False)
    index.documents([*ROWS, {"id": "new", "answer": "Snow shoes are rented out for nine euros a day."}])
    assert index.build(ask_above={"passages": 1}, copy_vectors=True).embedded == 1  # the others are copied


def test_most_documents_gone_is_an_accident_until_it_is_allowed(index: Index) -> None:
    index.questions = []
    assert index.build().served
    index.documents(ROWS[:50])
    code, folder = index.run()
    assert code == 3
    assert "50 of 100 documents are gone" in (folder / "failure.txt").read_text()
    assert index.build(max_delete_percent=60).rows == 50


def test_an_engine_that_was_killed_is_searched_again_without_anybodys_help(tmp_path: Path, milvus_lite: Path) -> None:
    index = Index(tmp_path, free_port(), free_port())
    index.questions = []
    with embedder(index.embedder_port), ExitStack() as serving:
        with engine(milvus_lite, tmp_path / "data", index.engine_port):
            assert index.build().served
            serving.enter_context(index.serving())
            until(lambda: index.found("How do I change my email address?") == "faq/q001#0", 60)
        assert index.search("anything")[0] == 503
        with engine(milvus_lite, tmp_path / "data", index.engine_port):  # everything in it is unloaded now
            until(lambda: index.found("How do I change my email address?") == "faq/q001#0", 60)


def test_an_engine_that_went_back_answers_as_it_did_then_until_what_is_missing_is_built(
    tmp_path: Path, milvus_lite: Path
) -> None:
    index = Index(tmp_path, free_port(), free_port())
    index.questions, volume = [], tmp_path / "volume"
    volume.mkdir()
    question, newest = "Can I rent snow shoes?", {"id": "new", "answer": "Snow shoes are rented out for nine euros."}

    @contextmanager
    def opened_by(image: str) -> Iterator[None]:
        open_for(image, volume)
        with engine(milvus_lite, volume / "milvus", index.engine_port):
            yield

    def generation() -> Any:
        return index.search(question)[1].get("generation")

    with embedder(index.embedder_port), index.serving():
        with opened_by("v1"):
            assert index.build().served
            until(lambda: generation() == 1, 60)
        with opened_by("v2"):
            index.documents([*ROWS, newest])
            assert index.build(copy_vectors=True).generation == 2
            until(lambda: index.found(question) == "faq/new#0", 60)
        with opened_by("v1"):
            until(lambda: generation() == 1, 60)
            assert index.found(question) != "faq/new#0"
            assert index.search(question, generation=2)[0] == 503
            built = index.build(after=2)  # as the index's status remembers
            assert (built.served, built.generation, built.embedded, built.rows) == (True, 3, 1, 101)
            until(lambda: index.found(question) == "faq/new#0", 60)


def test_another_model_behind_the_same_address_is_noticed_and_its_generation_flips_with_it(
    tmp_path: Path, milvus_lite: Path
) -> None:
    index = Index(tmp_path, free_port(), free_port())
    index.questions = []
    question = "How do I change my email address?"
    with engine(milvus_lite, tmp_path / "data", index.engine_port), index.serving():
        with embedder(index.embedder_port):
            assert index.build(gates=(ANN, {"type": "ScoreDrift", "max": "0.2"})).served
            until(lambda: index.found(question) == "faq/q001#0", 60)
        # as many numbers, elsewhere: no error would tell, only worse passages
        with embedder(index.embedder_port, pooling="cls"):
            until(lambda: "the same sentence lies elsewhere" in str(index.search(question)), 60)
            assert index.search(question)[0] == 503
            built = index.build(embedding=replace(index.work.embedding, revision="r2"), copy_vectors=True)
            assert built.embedded == 100  # no vector of the other space was copied
            assert not built.served  # this model's scores are others, and the gate says so
            assert "ScoreDrift: the best scores of 100 stored passages have the median" in built.failed
            eight = {"type": "Latency", "max": "10s", "concurrency": 8}
            built = index.build(gates=(ANN, {"type": "ScoreDrift", "max": "100"}, eight))
            assert (built.served, built.embedded) == (True, 0)
            assert "p95 of 200 searches, 8 at a time" in built.gates[2].sentence
            until(lambda: index.search(question)[1].get("generation") == built.generation, 60)
