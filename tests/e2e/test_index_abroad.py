"""An index that embeds through somebody's API: Job and query server as the processes they are, a real Milvus Lite, and
a real door between them and an API as Cohere's documentation has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_index_engine import ROWS, Index, engine, milvus_lite
from tests.embedding_api import KEY, Api, api
from tests.ports import free_port
from tests.unit.gateway.world import World

from llmops.retrieval.work import EmbeddingWork

__all__ = ["milvus_lite"]

QUESTION = "Where in my profile do I edit the email field?"


class Far:
    """An index, the door, and who embeds behind it."""

    def __init__(self, index: Index, world: World, somebody: Api, folder: Path) -> None:
        self.index, self.world, self.somebody, self.folder = index, world, somebody, folder

    def show(self, seconds: float = 600.0) -> None:
        """As the kubelet writes the token of a pod."""
        (self.folder / "token").write_text(self.world.token("faq-index-query", seconds=seconds))

    async def says(self, *words: str, status: int = 503) -> str:
        """Waits until a question is answered so, in such words."""

        async def asked() -> str | None:
            code, answer = await asyncio.to_thread(self.index.search, QUESTION)
            told = str(answer)
            return told if code == status and all(word in told for word in words) else None

        return await until(asked, 60)


async def until(test: Callable[[], Any], seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await test()):
            await asyncio.sleep(0.1)
    return found


@pytest.fixture
async def far(tmp_path: Path, milvus_lite: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Far]:
    monkeypatch.setenv("LLMOPS_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / "theirs").write_text(KEY)
    index = Index(tmp_path, free_port(), free_port())
    index.questions = index.questions[:20]
    with api() as somebody, engine(milvus_lite, tmp_path / "data", index.engine_port):
        async with World(credentials_folder=str(tmp_path)) as world:
            world.add_provider("theirs", f"{somebody.url}/v2", "Cohere")
            world.add_external("vectors", "theirs", task="Embed")
            world.apply()
            embedding = EmbeddingWork(f"{world.url}/v1", "shop/vectors", "r1", batch_size=96, provider="Cohere")
            retrieval = {"type": "Retrieval", "atK": 4, "min": "0.40", "evalJobRef": {"name": "q"}}
            index.work = replace(index.work, embedding=embedding, gates=(*index.work.gates, retrieval))
            far = Far(index, world, somebody, tmp_path)
            far.show()
            yield far


async def test_it_is_built_searched_and_asked_no_more_than_it_must(far: Far) -> None:
    index, somebody = far.index, far.somebody
    somebody.next = [429, 429]  # the Job waits as long as it is told, and goes on
    built = await asyncio.to_thread(index.build)
    assert (built.served, built.rows, built.embedded) == (True, 100, 100), built.failed
    counted = [(one["purpose"], one["texts"]) for one in somebody.asked]
    # the probes twice, then every passage and every labelled question once
    assert counted[:2] == [("search_document", 4)] * 2
    assert sorted(counted[2:]) == [("search_document", 4), ("search_document", 96), ("search_query", 20)]

    somebody.asked.clear()
    with index.serving():
        assert "faq/q001#0" in await far.says(status=200)
        assert [one["purpose"] for one in somebody.asked] == ["search_document", "search_query"]

        # nothing was paid for the vectors of texts that are known, though no call gives quite the same numbers
        index.documents([*ROWS, {"id": "new", "answer": "Snow shoes are rented out for nine euros a day."}])
        again = await asyncio.to_thread(index.build, copy_vectors=True)
        assert (again.embedded, again.rows) == (1, 101)
        await far.says(f"'generation': {again.generation}", status=200)

        # what the query server cannot do is a 503 with its reason
        somebody.next = [429]
        assert KEY not in await far.says("shop/vectors answered 429: theirs: not now")
        somebody.next = [401]
        assert KEY not in await far.says("shop/vectors answered 502", "its admin replaces data key theirs")
        far.show(seconds=-60)
        await far.says("the service-account token has expired")
        far.show()
        await far.says(status=200)
    for left in ("work", "out", "job.log"):
        files = [far.folder / left] if (far.folder / left).is_file() else [*(far.folder / left).iterdir()]
        assert not any(KEY in one.read_text() for one in files)


async def test_another_model_behind_the_same_name_is_not_flipped_to_and_not_asked_for_ever(far: Far) -> None:
    index, somebody = far.index, far.somebody
    index.questions = []
    await asyncio.to_thread(index.build, gates=index.work.gates[:1])
    somebody.noise = 0.05  # as far off as users told of a model: a cosine of 0.6 to 0.9
    somebody.asked.clear()
    with index.serving():
        await far.says("no longer embeds as it did for generation 1", "the same sentence lies elsewhere")
        looks = len(somebody.asked)
        somebody.noise = 0.0
        for _ in range(3):
            await far.says("the same sentence lies elsewhere")
        assert len(somebody.asked) == looks == 1
