"""Questions that a model makes of passages: which are kept, which left out and why, and what people look at first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from aiohttp import web
from tests.unit.gateway.world import KEY, World, fails

from llmops import cli
from llmops.desk.draft import LONGEST, PAGE, Drafted, asked, ordered, read, shuffled, why_not, windows
from llmops.desk.model import Model, Refused
from llmops.desk.objects import Unknown
from llmops.desk.questions import Made, questions, told
from llmops.desk.reach import Index
from llmops.kube.errors import ApiError
from llmops.retrieval.referred import _question
from llmops.retrieval.work import Question

TEXT = "Snow shoes are rented out for nine euros a day. Bring a document that says who you are."


def passage(number: int = 1, text: str = TEXT) -> dict[str, Any]:
    return {"id": f"faq/{number}#0", "text": text, "source": f"faq/{number}", "hash": f"{number:064x}"}


@pytest.mark.parametrize(
    ("answer", "question"),
    [
        ("What do snow shoes cost?", "What do snow shoes cost?"),
        ("  \n\n“What do snow shoes cost?”\nThey cost nine euros.", "What do snow shoes cost?"),
        ("1. **What do snow shoes cost?**", "What do snow shoes cost?"),
        ("Question: What do snow shoes cost?", "What do snow shoes cost?"),
        ("<think>A user may\nask this.</think>\nWhat do snow shoes cost?", "What do snow shoes cost?"),
        ("<think>A user may ask this, or that, or", ""),
        ("雪靴多少钱？", "雪靴多少钱？"),
        ("…\n---", ""),
        ("", ""),
    ],
)
def test_the_question_is_found_in_what_a_model_writes(answer: str, question: str) -> None:
    assert read(answer) == question


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("What do snow shoes cost?", None),
        ("Which document must I bring?", None),
        ("How large can the text in the order form be?", None),
        ("", "empty"),
        ("what do Snow Shoes cost", None),
        ("Who rents out snow shoes!", "asked already"),
        ("snow shoes are rented out for nine euros a day?", "copied from the passage"),
        ("What does the passage say about snow shoes?", "speaking of “the text”"),
        ("What is rented out in the text above?", "speaking of “the text”"),
        ("What is the price given in this article?", "speaking of “the text”"),
        ("According to the document, what do snow shoes cost?", "speaking of “the text”"),
    ],
)
def test_what_is_certainly_no_question_is_left_out(question: str, why: str | None) -> None:
    assert why_not(question, TEXT, {"who rents out snow shoes"}) == why


def test_every_passage_is_counted_once_and_what_was_left_out_is_said_with_why() -> None:
    made = Made()
    answers: list[str | Refused] = ["What does it cost?", "What does it COST", ""]
    answers += [Refused("the context has 512 tokens"), "Where is it?"]
    for number, answer in enumerate(answers):
        made.take(passage(number), answer)
    assert [one.question for one in made.drafts] == ["What does it cost?", "Where is it?"]
    made.drafts = [replace(one, looked=True) for one in made.drafts]
    lines = told(made, check=True).splitlines()
    assert lines[0] == "2 questions of 5 passages; left out: 1 asked already, 1 empty, 1 refused by the model"
    assert lines[1] == "the model said: the context has 512 tokens"
    assert lines[2] == "2 do not find their own passage among the first 20: they come first"
    assert "not looked for" not in lines[3]


def test_what_the_index_does_not_find_is_looked_at_first_and_what_was_not_looked_for_last() -> None:
    drafts = [Drafted(passage(number), "?", rank, True) for number, rank in enumerate([1, None, 20, 2, None])]
    found = ordered([Drafted(passage(), "?"), *drafts])
    assert [(one.rank, one.looked) for one in found] == [
        (None, True), (None, True), (20, True), (2, True), (1, True), (None, False)
    ]  # fmt: skip


def test_a_row_is_what_the_gate_takes_and_a_person_corrects() -> None:
    row = json.loads(Drafted(passage(7), "Was kostet es?", 3, looked=True).row())
    assert row == {
        "id": "q-000000000000", "input": "Was kostet es?", "relevant": ["faq/7#0"], "passage": TEXT, "draft": True,
        "rank": 3,
    }  # fmt: skip
    assert _question(row, "input", "target") == Question("Was kostet es?", ["faq/7#0"])
    of_acme = json.loads(Drafted({**passage(7), "tenant": "acme"}, "Was kostet es?").row())
    assert _question(of_acme, "input", "target", apart=True) == Question("Was kostet es?", ["faq/7#0"], "acme")
    assert "rank" not in json.loads(Drafted(passage(7), "Was kostet es?").row())


@pytest.mark.parametrize("rows", [0, 1, 24, 100, 12_345])
def test_windows_are_all_hashes_once_from_where_the_seed_says(rows: int) -> None:
    found = list(windows(rows, 1))
    assert len(found) == max(1, rows // PAGE)
    inner = sorted(found)
    assert inner[0][0] == "0" * 16
    assert [high for _, high in inner] == [*(low for low, _ in inner[1:]), ""]
    assert found == list(windows(rows, 1))
    assert rows < 2 * PAGE or len({next(windows(rows, seed)) for seed in range(20)}) > 1


def test_a_seed_draws_the_same_passages_in_the_same_order_and_another_one_others() -> None:
    some = [passage(number) for number in range(20)]
    assert shuffled(some, 1) == shuffled(some[::-1], 1)
    assert shuffled(some, 1)[:5] != shuffled(some, 2)[:5]


def test_a_long_passage_is_cut_before_the_model_reads_it() -> None:
    body = asked(passage(text="x" * 9000), "shop/support")
    assert body["messages"][0]["content"].count("x") < LONGEST + 10
    assert (body["model"], body["temperature"]) == ("shop/support", 0)


def test_a_service_of_another_namespace_may_be_named_and_a_door_with_or_without_v1() -> None:
    assert Model("shop", "support").whole == "shop/support"
    assert Model("shop", "ml/writer", "http://x/v1/")._door == Model("shop", "ml/writer", "http://x")._door
    assert Model("shop", "ml/writer").whole == "ml/writer"


async def test_at_the_door_a_key_is_needed_and_what_the_model_refuses_is_not_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world, Model("shop", "support", world.url) as model:
        world.add_service("support", world.engine)
        world.apply()
        monkeypatch.delenv("LLMOPS_KEY", raising=False)
        with pytest.raises(Unknown, match="the key is read from LLMOPS_KEY"):
            await model.ask(asked(passage(), model.whole))
        monkeypatch.setenv("LLMOPS_KEY", KEY)
        assert TEXT in await model.ask(asked(passage(), model.whole))
        world.engine.answer = fails(400)
        with pytest.raises(Refused):
            await model.ask(asked(passage(), model.whole))
        world.engine.answer = fails(500)
        with pytest.raises(Unknown):
            await model.ask(asked(passage(), model.whole))
    with pytest.raises(Unknown, match=r"no door answers at http://127\.0\.0\.1:9/v1/chat"):
        await Model("shop", "support", "http://127.0.0.1:9").ask({})


async def test_without_a_door_the_services_own_pods_are_asked_through_the_api_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World() as world:
        paths: list[str] = []

        async def proxied(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
            paths.append(request.path)
            return await world.engine.echo(request, body)

        world.engine.answer = proxied
        user = {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{world.engine.port}"}}],
                "users": [{"name": "u", "user": {"token": "x"}}]}  # fmt: skip
        (tmp_path / "config").write_text(yaml.safe_dump(user))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        async with Model("shop", "support") as model:
            assert TEXT in await model.ask(asked(passage(), model.whole))
            assert paths == ["/api/v1/namespaces/shop/services/http:support-llm:80/proxy/v1/chat/completions"]
            world.engine.answer = fails(503)
            with pytest.raises(Unknown, match=r"ask again with --door http://localhost:8080 and a key in LLMOPS_KEY"):
                await model.ask(asked(passage(), model.whole))
            world.engine.answer = fails(400)
            with pytest.raises(Refused):
                await model.ask(asked(passage(), model.whole))


class Ends:
    """A model that answers so many times, and then has no more to say to this key."""

    def __init__(self, answers: int) -> None:
        self.whole, self._left = "shop/support", answers

    async def __aenter__(self) -> Ends:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def ask(self, body: dict[str, Any]) -> str:
        self._left -= 1
        if self._left < 0:
            raise Unknown("GatewayKey shop/app has limits.requestsPerMinute 4: wait")
        return f"Question {'abcdefgh'[self._left]}?"


class Passages:
    """An index of thirty, that answers so many searches with nothing and is then away."""

    def __init__(self, searches: int = 100, away: Exception | None = None) -> None:
        self._left, self._away = searches, away
        self.groups: list[list[str] | None] = [None]
        self.asked = list[dict[str, Any]]()

    async def get(self, path: str, **query: object) -> dict[str, Any]:
        made = (passage(number, f"Text {number}.") for number in range(30))
        of = (self.groups[number % len(self.groups)] for number in range(30))
        told = [one if groups is None else {**one, "groups": groups} for one, groups in zip(made, of, strict=True)]
        return {"rows": 30, "passages": told}

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._left -= 1
        if self._left < 0 and self._away:
            raise self._away
        self.asked.append(body)
        return {"passages": []}


def test_what_was_made_before_a_limit_was_met_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def ask(answers: int, out: Path) -> int:
        return questions(cast("Index", Passages()), cast("Model", Ends(answers)), 10, 0, False, str(out))

    assert ask(6, tmp_path / "some") == 0
    assert len((tmp_path / "some").read_text().splitlines()) == 6
    assert ask(3, tmp_path / "few") == 0  # fewer than are asked at once
    assert len((tmp_path / "few").read_text().splitlines()) == 3
    assert "stopped early: GatewayKey shop/app has limits.requestsPerMinute 4: wait" in capsys.readouterr().err
    with pytest.raises(Unknown):
        ask(0, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(Unknown, match="is there already"):
        ask(6, tmp_path / "some")
    with pytest.raises(Unknown, match="is no folder: create it"):
        ask(6, tmp_path / "away" / "some")


@pytest.mark.parametrize("away", [Unknown("VectorIndex shop/faq is away"), ApiError("VectorIndex shop/faq is away")])
def test_what_the_model_wrote_is_written_though_the_index_ends_in_the_midst_of_the_check(
    away: Exception, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "some"
    assert questions(cast("Index", Passages(5, away)), cast("Model", Ends(8)), 8, 0, True, str(out)) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row.get("rank", "not told") for row in rows] == [None] * 5 + ["not told"] * 3
    said = capsys.readouterr().err
    assert "stopped early: VectorIndex shop/faq is away" in said
    assert "5 do not find their own passage among the first 20: they come first" in said
    assert "3 were not looked for, and come last without a rank" in said


def test_the_check_asks_as_who_may_find_the_passage_and_not_at_all_where_nobody_may(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def checked(*groups: list[str] | None) -> tuple[list[Any], list[Any]]:
        index = Passages()
        index.groups = [*groups]
        assert questions(cast("Index", index), cast("Model", Ends(8)), 8, 0, True, None) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [one.get("caller") for one in index.asked], [row.get("rank", "not told") for row in rows]

    assert checked(None) == ([None] * 8, [None] * 8)
    assert checked(["*"]) == ([{"groups": []}] * 8, [None] * 8)
    assert checked(["board", "staff"]) == ([{"groups": ["board", "staff"]}] * 8, [None] * 8)
    assert checked([f"g{number}" for number in range(65)])[0][0] == {"groups": [f"g{number}" for number in range(64)]}
    assert checked([]) == ([], ["not told"] * 8)


def test_what_no_group_may_find_is_told_with_where_that_is_set() -> None:
    drafts = [Drafted({**passage(), "groups": []}, "?"), Drafted({**passage(), "groups": ["*"]}, "?", 1, looked=True)]
    assert told(Made(drafts), check=True).splitlines()[2] == (
        "1 were not looked for, and come last without a rank; "
        "1 are of passages that no group may find (spec.query.permissions)"
    )


@pytest.mark.parametrize("count", ["0", "many", "1001"])
def test_a_count_that_is_none_is_a_sentence(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["questions", "faq", "--service", "support", "--count", count])
    assert "write a number from 1 to 1000" in capsys.readouterr().err
