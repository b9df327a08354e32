"""What people get from an index's query server, as they type it: real engine, real small model, real processes."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import aiohttp
import openai
import pytest
from tests.e2e.asking import Leading, asking
from tests.e2e.test_index_engine import (
    ROOT,
    ROWS,
    Index,
    answers,
    embedder,
    engine,
    milvus_lite,
    post,
    process,
    until,
)
from tests.ports import free_port
from tests.unit.gateway.world import KEY, Engine, World

from llmops.gateway.retrieve import Sought
from llmops.gateway.snapshot import Retrieval
from llmops.retrieval.stores import open_reader, where

__all__ = ["milvus_lite"]


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as reply:
        return json.load(reply)


def typed(index: Index, *words: str, columns: int = 100) -> tuple[int, str, str]:
    """`llmops WORDS`, against the query server itself: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "llmops.cli", *words, "--url", f"http://127.0.0.1:{index.port}"]
    env = {"PYTHONPATH": str(ROOT / "operator"), "COLUMNS": str(columns), "PATH": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, milvus_lite: Path) -> Iterator[Index]:
    """An index with a generation that is searched."""
    folder = tmp_path_factory.mktemp("index")
    one = Index(folder, free_port(), free_port())
    one.more = ("--poor-below=0.35",)
    with engine(milvus_lite, folder / "data", one.engine_port), embedder(one.embedder_port):
        one.build()
        with one.serving():
            until(lambda: one.found("How do I change my email address?") is not None, 60)
            yield one


def test_a_question_is_answered_in_lines_that_fit(served: Index) -> None:
    code, out, _ = typed(served, "search", "faq", "How do I change my email address?", "--top", "3", columns=70)
    lines = out.splitlines()
    assert (code, lines[0], len(lines)) == (0, "shop/faq, generation 1", 4)
    assert lines[1].startswith("  1  0.")
    assert "faq/q001#0" in lines[1]
    assert max(map(len, lines)) <= 70


def test_a_filter_and_a_score_narrow_it_and_what_is_wrong_is_a_sentence(served: Index) -> None:
    asked = ("search", "faq", "How do I change my email address?")
    code, out, _ = typed(served, *asked, "--min-score", "0.999")
    assert (code, out.strip()) == (1, "shop/faq, generation 1: nothing was found; ask again without --min-score")
    code, out, _ = typed(served, *asked, "--filter", 'document == "faq/q002"', "--json")
    assert [one["id"] for one in json.loads(out)["passages"]] == ["faq/q002#0"]
    code, _, said = typed(served, *asked, "--filter", "document ===")
    assert (code, "filter: it cannot be read" in said) == (2, True)
    code, _, said = typed(served, *asked, "--generation", "9")
    assert (code, "generation 9 of VectorIndex shop/faq: it is gone" in said) == (2, True)


def counted(index: Index, metric: str) -> float:
    """A metric's value by its name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{index.port}/metrics", timeout=20) as reply:
        lines = [line.rpartition(" ") for line in reply.read().decode().splitlines()]
    return next((float(value) for name, _, value in lines if name == metric), 0.0)


def test_what_users_asked_in_vain_is_listed_and_what_people_try_is_not(served: Index) -> None:
    scores = counted(served, "llmops_retrieval_best_score_count")
    assert typed(served, "search", "faq", "Who won the chess championship?")[0] == 0
    assert typed(served, "search", "faq", "--poor")[:2][0] == 1
    for text in ("What is the boiling point of helium?", "what is the boiling point of helium"):
        assert served.search(text, topK=3)[0] == 200
    served.search("How do I change my email address?", minScore=0.99)
    url = f"http://127.0.0.1:{served.port}"
    assert post(url + "/poor", {"text": "How do I change my email address"}) == (200, {"ok": True})
    assert post(url + "/poor", {"words": "x"})[0] == 400
    code, out, _ = typed(served, "search", "faq", "--poor")
    assert code == 0
    helium, email = [line for line in out.splitlines()[1:] if "helium" in line or "email" in line]
    assert "What is the boiling point of helium?" in out
    assert {helium.split()[0], email.split()[0]} == {"2"}
    for reason, count in (("low", 2), ("empty", 1), ("disliked", 1)):
        assert counted(served, f'llmops_retrieval_poor_searches_total{{reason="{reason}"}}') == count
    assert counted(served, "llmops_retrieval_best_score_count") == scores + 3
    assert counted(served, 'llmops_retrieval_best_score_bucket{le="0.35"}') >= 2


@pytest.fixture(scope="module")
def writer() -> Iterator[str]:
    """A model that generates, at its own address; what it writes is of no use to anybody. It writes one after the
    other: what is computed together may end in other words now and then."""
    port = free_port()
    with process(sys.executable, str(ROOT / "images/llamacpp/serve.py"), "--model",
                 str(ROOT / "build/models/support-good.gguf"), "--alias", "shop/support", "--host", "127.0.0.1",
                 "--port", str(port), "--context-length", "512", "--parallel", "1",
                 "--drain-seconds", "0"):  # fmt: skip
        until(answers(port))
        until(lambda: _healthy(port))
        yield f"http://127.0.0.1:{port}/v1"


def _healthy(port: int) -> bool:
    try:
        return bool(get(f"http://127.0.0.1:{port}/health"))
    except OSError:
        return False


def test_questions_are_drafted_from_passages_in_the_form_that_the_gate_takes(
    served: Index, writer: str, tmp_path: Path
) -> None:
    asked = ("questions", "faq", "-n", "shop", "--service", "support", "--door", writer, "--count", "6")
    code, out, said = typed(served, *asked)
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, 0 < len(rows) <= 6) == (0, True), said
    passages = {f"faq/{row['id']}#0": row["answer"] for row in ROWS}
    for row in rows:
        assert set(row) == {"id", "input", "relevant", "passage", "draft"}
        assert (row["draft"], passages[row["relevant"][0]]) == (True, row["passage"])
    assert len({row["id"] for row in rows}) == len({row["input"].casefold() for row in rows}) == len(rows)
    counted = re.match(r"(\d+) questions of (\d+) passages", said)
    assert counted
    made, tried = counted.groups()
    left_out = sum(int(number) for number in re.findall(r"(\d+) (?:empty|copied|speaking|asked|refused)", said))
    assert (int(made), int(tried) - left_out) == (len(rows), len(rows))
    assert int(tried) <= 12

    # the same seed draws the same passages, another one others; what was asked stands beside its rank, the worst first
    file = tmp_path / "draft.jsonl"
    code, out, said = typed(served, *asked, "--check", "--out", str(file))
    checked = [json.loads(line) for line in file.read_text().splitlines()]
    assert (code, out) == (0, "")
    assert {row["id"]: row["input"] for row in checked} == {row["id"]: row["input"] for row in rows}
    ranks = [row["rank"] or 99 for row in checked]
    assert ranks == sorted(ranks, reverse=True)
    assert f"{ranks.count(99)} do not find their own passage" in said
    others = [json.loads(line)["id"] for line in typed(served, *asked, "--seed", "7")[1].splitlines()]
    assert set(others) != {row["id"] for row in rows}
    code, _, said = typed(served, *asked, "--out", str(file))
    assert (code, "is there already" in said) == (2, True)
    assert not any(
        one["text"] in {row["input"] for row in rows}
        for one in get(f"http://127.0.0.1:{served.port}/poor")["questions"]
    )


async def test_a_thumb_down_at_the_door_is_on_the_list_and_what_an_evaluation_asks_is_not(served: Index) -> None:
    async with World() as door:
        door.add_service("support", door.engine)
        door.point("faq", cast("Engine", served), kind="VectorIndex", service="faq-index")  # it has a port
        reference = {"name": "faq", "topK": 2, "variable": "context"}
        door.release("answer", door.add_version("answer", "1.0.0", system="{{ context }}", indexRef=reference))

        async def asked(question: str, credential: str) -> None:
            prompt = {"id": "answer", "variables": {"question": question}}
            reply = await door.client(credential).chat.completions.create(
                model="-", messages=[], extra_body={"prompt": prompt}
            )
            body, headers = {"id": reply.id, "rating": "down"}, {"authorization": f"Bearer {KEY}"}
            assert (await door.http.post("/v1/feedback", json=body, headers=headers)).status == 200

        before = counted(served, "llmops_retrieval_best_score_count")
        await asked("Is the lamp waterproof?", KEY)
        await asked("Does the moon shine at noon?", door.token("quality-eval"))
        await asyncio.gather(*door.door.disliked.running)
    assert counted(served, "llmops_retrieval_best_score_count") == before + 1
    poor = {one["text"]: one["disliked"] for one in get(f"http://127.0.0.1:{served.port}/poor")["questions"]}
    assert poor["Is the lamp waterproof?"] == 1
    assert "Does the moon shine at noon?" not in poor


async def test_a_prompt_is_answered_from_what_its_filter_keeps(served: Index) -> None:
    async with World() as door:
        door.add_service("support", door.engine)
        door.point("faq", cast("Engine", served), kind="VectorIndex", service="faq-index")
        for name, narrowed in (("answer", "document in {{ documents }}"), ("odd", "text like {{ like }}")):
            reference = {"name": "faq", "topK": 9, "variable": "context", "filter": narrowed}
            door.release(name, door.add_version(name, "1.0.0", system="{{ context }}", indexRef=reference))

        async def cited(name: str, **variables: Any) -> set[str]:
            prompt = {"id": name, "variables": {"question": "How do I change my email address?", **variables}}
            reply = await door.client(KEY).chat.completions.create(
                model="-", messages=[], extra_body={"prompt": prompt}
            )
            assert reply.model_extra is not None
            return {one["source"] for one in reply.model_extra["citations"]}

        assert await cited("answer", documents=["faq/q002", "faq/q003"]) == {"faq/q002", "faq/q003"}
        assert await cited("answer", documents=['faq/q002"] or document like "%']) == set()
        with pytest.raises(openai.BadRequestError, match="filter must be a text of at most 4096 characters"):
            await cited("answer", documents=["x" * 5000])
        with pytest.raises(openai.BadRequestError, match="text is compared with a text here"):
            await cited("odd", like=True)
        with pytest.raises(
            openai.InternalServerError, match=r"indexRef\.filter: Milvus knows no escaped % or _ in like"
        ):
            await cited("odd", like="100\\%")


def another(index: Index, *more: str) -> Index:
    """One more query server of the same index."""
    made = copy.copy(index)
    made.port, made.more = free_port(), (*index.more, *more)
    return made


async def test_two_query_servers_that_are_replaced_in_turn_lose_no_question(served: Index) -> None:
    first, second = (another(served, "--drain-seconds=5") for _ in range(2))
    faq, ends = Retrieval("shop/faq", 1, None, "context", None), {first.port: ExitStack(), second.port: ExitStack()}
    question = "How do I change my email address?"

    async with World() as door, Leading() as service, aiohttp.ClientSession(raise_for_status=True) as session:
        url = f"http://127.0.0.1:{service.port}/search"
        door.point("faq", first, second, kind="VectorIndex", service="faq-index")  # type: ignore[arg-type]
        door.apply()

        async def begin(one: Index) -> None:
            await asyncio.to_thread(ends[one.port].enter_context, one.serving())
            await asyncio.to_thread(until, lambda: one.found(question) is not None, 60)
            service.ports.append(one.port)

        async def leaves(one: Index) -> bool:
            """It answers, and wants its connections closed."""
            async with session.get(f"http://127.0.0.1:{one.port}/healthz") as reply:
                return reply.headers.get("connection") == "close"

        async def end(one: Index) -> None:
            ending = asyncio.create_task(asyncio.to_thread(ends[one.port].close))
            async with asyncio.timeout(20):  # it is told to end before anybody forgets it
                while not await leaves(one):
                    await asyncio.sleep(0.05)
            service.ports.remove(one.port)
            await ending

        async def kept_open() -> None:
            await (await session.post(url, json={"text": question})).read()

        async def opened_anew() -> None:
            async with aiohttp.request("POST", url, json={"text": question}, raise_for_status=True) as reply:
                await reply.read()

        async def through_the_door() -> None:
            assert await door.door.search(faq, Sought(question))

        try:
            for one in (first, second):
                await begin(one)
            async with asking(kept_open, kept_open, opened_anew, through_the_door) as asked:
                turns = [[*asked.each]]
                for one in (first, second):
                    await end(one)
                    await begin(one)
                    turns.append([*asked.each])
        finally:
            for stack in ends.values():
                await asyncio.to_thread(stack.close)
    assert asked.failed == []
    for before, after in pairwise(turns):  # each asker was answered while each of the two was replaced
        assert all(was < now for was, now in zip(before, after, strict=True)), turns


async def test_a_generation_that_another_query_server_let_go_of_is_found_without_a_refusal(served: Index) -> None:
    reader = open_reader(where("Milvus", served.work.engine, ""))
    try:
        collection = await reader.points_to(served.work.alias)
        for _ in range(5):
            await reader.release(collection)
            found = await asyncio.to_thread(served.found, "How do I change my email address?")
            assert found == "faq/q001#0"
    finally:
        await reader.close()


def test_a_page_of_passages_is_bounded_and_what_is_wrong_with_it_is_a_sentence(served: Index) -> None:
    url = f"http://127.0.0.1:{served.port}/passages"
    page = get(f"{url}?from=80&limit=5")
    assert (page["rows"], page["generation"], len(page["passages"])) == (100, 1, 5)
    assert all(one["hash"] >= "80" for one in page["passages"])
    for wrong in ("limit=101", "limit=x", "from=Z", 'to=0"%20or%20id>"'):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{url}?{wrong}")
        with refused.value:
            assert refused.value.code == 400


def test_people_find_as_members_of_groups_what_those_may_see_and_as_nobody_what_is_everybodys(
    tmp_path: Path, milvus_lite: Path
) -> None:
    one, (open_, board, hidden, *handbook) = Index(tmp_path, free_port(), free_port()), ROWS
    one.questions, one.more = [], ("--permissions=groups",)
    rows = [{**open_, "groups": "*"}, {**board, "groups": ["board", "staff"]}, hidden]
    sources = one.texts("faq", rows), one.texts("handbook", handbook, groups=["staff"])
    with engine(milvus_lite, tmp_path / "data", one.engine_port), embedder(one.embedder_port):
        assert one.build(sources=sources, seen_by="groups", gates=()).rows == len(ROWS)
        with one.serving():
            until(lambda: one.search("anything")[0] == 200, 60)

            def found(*words: str) -> tuple[list[str], set[str]]:
                _, out, _ = typed(one, "search", "faq", open_["question"], "--top", "100", "--json", *words)
                answer = json.loads(out)
                return answer["groups"], {passage["source"] for passage in answer["passages"]}

            assert found() == ([], {f"faq/{open_['id']}"})
            assert found("--as-group", "board") == (["board"], {f"faq/{open_['id']}", f"faq/{board['id']}"})
            groups, everything = found("--as-group", "staff", "--as-group", "board", "--filter", "id != 'x'")
            assert (groups, len(everything), f"faq/{hidden['id']}" in everything) == (["board", "staff"], 99, False)
            ended = "id != 'x') or (id != 'x'"
            code, _, said = typed(one, "search", "faq", "x", "--as-group", "board", "--filter", ended)
            assert (code, "it cannot be read from here on: ) or (id" in said) == (2, True)
            code, out, _ = typed(one, "search", "faq", open_["question"], "--top", "3")
            assert (code, out.splitlines()[0]) == (0, "shop/faq, generation 1, as nobody (--as-group NAME)")
