"""What a person reads who asks an index: lines that fit, and sentences that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmops import cli
from llmops.desk.lines import cut, plain, snippet, width
from llmops.desk.reach import Each, Index, service_path
from llmops.desk.search import Wanted, listed, remembered, told
from llmops.kube.errors import ApiError, Forbidden, Invalid, NotFound, Unreachable

FAQ = Index("shop", "faq")


def passage(name: str, text: str, score: float = 0.5) -> dict[str, Any]:
    return {"id": name, "text": text, "score": score, "source": name.split("#")[0], "metadata": {}}


def found(*passages: dict[str, Any]) -> dict[str, Any]:
    return {"index": "shop/faq", "generation": 7, "passages": list(passages)}


@pytest.mark.parametrize(
    ("text", "cells"),
    [("tent", 4), ("Zelt für zwei", 13), ("テント", 6), ("e\u0301", 1), ("⛺", 2), ("a\u200bb", 2), ("", 0)],
)
def test_a_text_is_as_wide_as_a_terminal_shows_it(text: str, cells: int) -> None:
    assert width(text) == cells


@pytest.mark.parametrize("cells", range(2, 12))
def test_what_is_cut_fits_and_says_that_it_is_cut(cells: int) -> None:
    for text in ("どこでテントを借りられますか", "Where can I rent a tent?", "e\u0301" * 20):
        kept = cut(text, cells)
        assert width(kept) <= cells
        assert kept.endswith("…")


def test_a_document_cannot_speak_to_the_terminal() -> None:
    assert plain("red \x1b[31m\x07 and\n\tmore\u202e\u2028") == "red [31m and more"


def test_a_snippet_begins_where_the_question_is_answered() -> None:
    text = "We are open all year. " * 20 + "Snow shoes are rented out for nine euros a day."
    assert "Snow shoes are rented" in snippet(text, "Can I rent snow shoes?", 60)
    assert snippet(text, "Something else?", 60).startswith("We are open all year.")
    assert snippet("Short.", "Something?", 60) == "Short."


@pytest.mark.parametrize("cells", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_names_stay_whole(cells: int) -> None:
    names = ["faq/q001#0", "manuals/テントの張り方#12"]
    lines = told(
        found(*(passage(name, "テントは二本のポールで立ちます。" * 20) for name in names)), Wanted("ポール", 5), cells
    )
    assert max(map(width, lines)) <= cells
    assert all(name in "\n".join(lines) for name in names)
    assert lines[0] == "shop/faq, generation 7"
    assert lines[1].startswith("  1  0.500  faq/q001#0")


def test_nothing_found_names_the_option_that_may_be_why() -> None:
    assert told(found(), Wanted("tent", 5), 80) == ["shop/faq, generation 7: nothing was found"]
    (said,) = told(found(), Wanted("tent", 5, filter="source == 'x'", min_score=0.9), 80)
    assert said.endswith("nothing was found; ask again without --min-score or --filter")


def test_where_the_index_has_permissions_it_is_told_in_whose_name_it_was_asked() -> None:
    (said,) = told({**found(), "groups": []}, Wanted("tent", 5), 80)
    assert said == "shop/faq, generation 7, as nobody (--as-group NAME): nothing was found"
    lines = told({**found(passage("a#0", "Tents.")), "groups": ["staff", "support"]}, Wanted("tent", 5), 80)
    assert lines[0] == "shop/faq, generation 7, as staff and support"


def test_only_what_was_typed_is_sent_and_it_is_not_remembered_as_a_users_question() -> None:
    assert Wanted("tent", 3).body() == {"text": "tent", "topK": 3, "remember": False}
    assert Wanted("tent", 3, groups=("staff",)).body()["caller"] == {"groups": ["staff"]}


def test_a_search_within_a_tenant_says_so() -> None:
    (said,) = told({**found(), "tenant": "acme", "groups": ["staff"]}, Wanted("tent", 5), 80)
    assert said == "shop/faq, generation 7, of acme, as staff: nothing was found"
    assert Wanted("tent", 3, tenant="acme").body()["tenant"] == "acme"
    assert "tenant" not in Wanted("tent", 3).body()
    assert Wanted("tent", 3, generation=2, min_score=0.0).body()["minScore"] == 0.0
    assert Wanted("tent", 3, mode="Keyword").body()["mode"] == "Keyword"


def test_poor_questions_are_a_table() -> None:
    one = {
        "text": "Do you\nsell boats?",
        "count": 12,
        "disliked": 1,
        "bestScore": 0.21,
        "lastAt": "2026-01-02T03:04:05Z",
    }
    lines = listed({"index": "shop/faq", "since": "2026-01-01T00:00:00Z", "below": 0.3, "questions": [one]}, 80)
    assert lines[1] == "   12     1   0.210  2026-01-02T03:04:05Z  Do you sell boats?"
    (none,) = listed({"index": "shop/faq", "since": "2026-01-01T00:00:00Z", "below": 0.3, "questions": []}, 80)
    assert none == "shop/faq: every question since 2026-01-01T00:00:00Z found something as near as 0.3"


def conditions(**said: tuple[str, str]) -> dict[str, Any]:
    told = [{"type": name, "status": status, "message": message} for name, (status, message) in said.items()]
    return {"status": {"conditions": told}}


READY = conditions(Available=("True", "generation 7 answers"))


def test_what_the_query_server_refuses_is_passed_on_as_it_says_it() -> None:
    assert FAQ.told(Invalid("topK must be a whole number", 400), READY) == "topK must be a whole number"


def test_an_index_that_is_not_there_yet_says_why_from_its_conditions() -> None:
    one = conditions(
        Ready=("False", "LLMService shop/minilm does not exist: create it, with spec.model.task Embed"),
        Available=("False", "nothing answers yet"),
    )
    for problem in (NotFound('services "faq-index" not found', 404), Unreachable("no endpoints available", 503)):
        said = FAQ.told(problem, one)
        assert "LLMService shop/minilm does not exist: create it" in said
        assert said.endswith("(llmops explain vi faq -n shop)")
    assert "is the operator running?" in FAQ.told(NotFound("no", 404), {"status": {}, "metadata": {}})


def test_a_missing_right_is_named_with_who_has_it_and_another_way() -> None:
    said = FAQ.told(Forbidden('cannot create resource "services/proxy"', 403), READY)
    assert "ask for get and create on services/proxy in namespace shop" in said
    assert "kubectl port-forward -n shop svc/faq-index 8080, and ask again with --url http://localhost:8080" in said


@pytest.mark.parametrize("sign", ["error trying to reach service: dial tcp: i/o timeout", "POST /x: TimeoutError()"])
def test_a_network_that_keeps_the_api_server_out_is_suspected_only_where_the_index_answers_others(sign: str) -> None:
    assert "its NetworkPolicy, or the network plugin" in FAQ.told(Unreachable(sign, 503), READY)
    assert "does not answer within" in FAQ.told(
        ApiError("VectorIndex shop/faq does not answer within 10 s", 503), READY
    )


def test_it_is_asked_through_the_api_servers_proxy() -> None:
    path = service_path("shop", "faq-index", 8080, "/search")
    assert path == "/api/v1/namespaces/shop/services/http:faq-index:8080/proxy/search"


def test_a_search_without_a_question_says_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["search", "faq"]) == 2
    assert "write the question" in capsys.readouterr().err


def test_a_query_server_that_is_not_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["search", "faq", "tent", "--url", "http://127.0.0.1:9"]) == 2
    assert "llmops: no query server answers at http://127.0.0.1:9/search" in capsys.readouterr().err


class Api:
    """The API server, as far as an index and its query servers go."""

    def __init__(self, pods: dict[str, Any], service: Any = None, replicas: int = 2) -> None:
        self.pods, self.service, self.replicas = pods, service, replicas
        self.asked: list[str] = []

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def get(self, *_: object) -> dict[str, Any]:
        return {**READY, "spec": {"query": {"replicas": self.replicas}}}

    async def list(self, resource: object, namespace: str, labels: str) -> dict[str, Any]:
        assert "llmops.dev/owner-name=faq,llmops.dev/part=query" in labels
        running = [{"metadata": {"name": name}, "status": {"phase": "Running"}} for name in self.pods]
        gone = {"metadata": {"name": "gone", "deletionTimestamp": "now"}, "status": {"phase": "Running"}}
        return {"items": [*running, gone, {"metadata": {"name": "new"}, "status": {"phase": "Pending"}}]}

    async def raw(self, path: str, body: object = None) -> Any:
        self.asked.append(path)
        pod = path.partition("/pods/http:")[2].partition(":")[0]
        answer = self.pods[pod] if pod else self.service
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Api]:
    def made(*given: Any, **named: Any) -> Api:
        one = Api(*given, **named)

        async def connect(timeout: float) -> Api:
            return one

        monkeypatch.setattr("llmops.desk.reach.Client.connect", connect)
        return one

    return made


async def test_every_query_server_is_asked_through_its_own_pod(api: Callable[..., Api]) -> None:
    asked = api({"a": {"n": 1}, "b": {"n": 2}})
    assert await FAQ.each("/poor") == Each({"a": {"n": 1}, "b": {"n": 2}})
    assert sorted(asked.asked) == [f"/api/v1/namespaces/shop/pods/http:{pod}:8080/proxy/poor" for pod in "ab"]


async def test_the_only_query_server_is_asked_through_the_service_as_ever(api: Callable[..., Api]) -> None:
    asked = api({"a": {"n": 1}}, {"n": 3}, replicas=1)
    assert await FAQ.each("/poor") == Each({"": {"n": 3}})
    assert asked.asked == [service_path("shop", "faq-index", 8080, "/poor")]


async def test_who_may_not_ask_pods_hears_of_one_and_what_to_ask_for(api: Callable[..., Api]) -> None:
    api({"a": {"n": 1}, "b": Forbidden('cannot get resource "pods/proxy"', 403)}, {"n": 3})
    found = await FAQ.each("/poor")
    assert found.answers == {"": {"n": 3}}
    assert found.lacking.startswith("only one of 2 query servers was asked, since you may not ask each pod (cannot")
    assert "ask for list on pods and get on pods/proxy in namespace shop" in found.lacking


async def test_a_query_server_that_does_not_answer_is_named_and_the_others_are_heard(api: Callable[..., Api]) -> None:
    api({"a": {"n": 1}, "b": Unreachable("connection refused", 503)})
    assert await FAQ.each("/poor") == Each({"a": {"n": 1}}, "b did not answer (connection refused)")


def test_since_when_several_remember_is_said() -> None:
    one: dict[str, Any] = {"since": "2026-01-01T00:00:00Z", "servers": {"a": "2026-01-01T00:00:00Z"}}
    assert remembered(one).startswith("since 2026-01-01T00:00:00Z, when this query server started")
    two = {**one, "servers": {**one["servers"], "b": "2025-01-01T00:00:00Z"}}
    assert remembered(two).startswith("of 2 query servers, the youngest since 2026-01-01T00:00:00Z")
