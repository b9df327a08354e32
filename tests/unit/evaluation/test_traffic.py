"""What users asked as a dataset: from which gateways, which of it, and how it is asked again or only marked."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from inspect_ai.model import ModelName
from inspect_ai.solver import Generate, TaskState

from llmops.api import EvalJob, Settings
from llmops.evaluation.rows import Fields, parse
from llmops.evaluation.run import Arm, Run
from llmops.evaluation.runner import reading, traffic
from llmops.evaluation.runner.door import Door
from llmops.evaluation.runner.progress import Progress
from llmops.evaluation.runner.task import asked
from llmops.evaluation.source import Source, source_of
from llmops.web import Limits, Passing, Wrong

ARM = Arm(
    "http://gateway/v1", "shop/support", "id", {"id": "shop/support", "version": "d1"}, ("tone",), "question", True
)
RUN = Run("shop/weekly", "", 0, ("refusal",), ARM, key="k", needs=())
AGAIN = Source("traffic", "shop/support", endpoint="http://gateways:8080", version="Again", sample=100)
RECORDED = replace(AGAIN, version="Recorded")


def remembered(n: int, rating: str = "none", digest: str = "d1", **more: Any) -> dict[str, Any]:
    return {
        "id": f"llm-{digest}-{n:04}", "at": f"2026-11-25T10:00:{n % 60:02}Z", "version": digest.upper(),
        "digest": digest, "variant": "stable", "variables": {"question": f"why {n}?", "tone": "kind"},
        "question": None, "answer": f"because {n}", "rating": rating, **more,
    }  # fmt: skip


def rows(source: Source, known: list[dict[str, Any]], run: Run = RUN) -> list[dict[str, Any]]:
    content, _ = traffic.chosen(run, source, json.dumps(known).encode())
    return [json.loads(line) for line in content.decode().splitlines()]


Told = dict[str, Any]


@pytest.fixture
def gateways(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Source]]:
    """Servers on addresses of their own behind one name, as the headless Service has them."""
    servers: list[ThreadingHTTPServer] = []

    def serve(*told: Told | int) -> Source:
        port = 0
        for number, one in enumerate(told, start=1):
            server = ThreadingHTTPServer((f"127.0.0.{number}", port), _handler(one))
            port = server.server_port
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number + 1}", port)) for number in range(len(told))
        ]
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *a, **k: found if host == "gateways" else real(host, *a, **k)
        )
        return replace(AGAIN, endpoint=f"http://gateways:{port}")

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def _handler(told: Told | int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            right = body == {"prompt": "shop/support"} and self.headers["Authorization"] == "Bearer the-token"
            status, reply = (told, {}) if isinstance(told, int) else (200 if right else 401, told)
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def collected(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    (tmp_path / "token").write_text("the-token\n")
    monkeypatch.setattr(reading, "TOKEN_FILE", tmp_path / "token")
    limits = Limits(refused=lambda _: None)
    return reading.read(source, tmp_path, reading.Kept(), limits, sleep=lambda _: None)


def test_every_gateway_is_asked_and_a_rating_finds_the_answer_that_another_gave(gateways, tmp_path, monkeypatch):
    one, other = remembered(1), remembered(2)
    source = gateways({"rows": [one], "ratings": {}}, {"rows": [other], "ratings": {one["id"]: "down"}})
    told = json.loads(collected(source, tmp_path, monkeypatch))
    assert {each["id"]: each["rating"] for each in told} == {one["id"]: "down", other["id"]: "none"}


def test_a_gateway_that_fails_is_asked_again_and_an_older_one_is_said(gateways, tmp_path, monkeypatch):
    with pytest.raises(Passing, match="traffic of PromptRelease shop/support answers 503"):
        collected(gateways({"rows": [], "ratings": {}}, 503), tmp_path, monkeypatch)
    with pytest.raises(Wrong, match="must be of this operator's version"):
        collected(gateways(404), tmp_path, monkeypatch)


def test_a_name_that_means_no_gateway_may_pass(tmp_path, monkeypatch):
    with pytest.raises(Passing, match=r"nowhere\.invalid"):
        collected(replace(AGAIN, endpoint="http://nowhere.invalid:8080"), tmp_path, monkeypatch)


def test_rows_have_the_variables_the_rating_and_the_version_oldest_first(tmp_path):
    found = rows(AGAIN, [remembered(2, "up"), remembered(1)])
    assert [one[traffic.INPUT] for one in found] == ["why 1?", "why 2?"]
    assert [(one["rating"], one["version"], one["tone"]) for one in found] == [
        ("none", "D1", "kind"),
        ("up", "D1", "kind"),
    ]
    assert not any("because" in str(one) for one in found)  # what was answered then is no part of it
    parsed = parse("\n".join(map(json.dumps, found)), traffic.fields(Fields(without_target="absent")))
    assert (parsed.problems, parsed.rows[0].id, parsed.rows[0].input) == ((), "llm-d1-0001", "why 1?")


def test_a_variable_that_is_called_like_a_field_of_ours_is_asked_as_it_was(tmp_path):
    named = remembered(1, variables={"question": "why?", "rating": "five stars", "id": "mine"})
    [row] = rows(AGAIN, [named])
    assert (row["rating"], row["id"], row[traffic.ID]) == ("five stars", "mine", "llm-d1-0001")


def test_what_the_caller_said_in_a_message_is_the_question_where_no_variable_is(tmp_path):
    run = replace(RUN, target=replace(ARM, input_variable=None))
    [row] = rows(AGAIN, [remembered(1, variables={"tone": "kind"}, question="and you?")], run)
    assert (row[traffic.INPUT], row[traffic.SAID]) == ("and you?", "and you?")
    [row] = rows(AGAIN, [remembered(1, variables={"tone": "kind"})], run)
    assert (row[traffic.INPUT], traffic.SAID in row) == ('{"tone": "kind"}', False)


def test_each_version_and_rating_has_its_share_and_the_rare_are_not_missed():
    known = [
        *(remembered(n) for n in range(900)),
        *(remembered(n, "up", digest="d2") for n in range(90)),
        *(remembered(n, "down", digest="d3") for n in range(3)),
    ]
    picked = Counter((one["digest"], one["rating"]) for one in traffic.sample(known, 100, "seed"))
    assert picked.total() == 100
    assert 88 <= picked["d1", "none"] <= 93
    assert 7 <= picked["d2", "up"] <= 11
    assert picked["d3", "down"] == 1


@pytest.mark.parametrize("size", [1, 2, 3, 10, 993, 5000])
def test_a_sample_is_as_large_as_wanted_as_far_as_there_are_rows_and_the_same_for_the_same_run(size):
    known = [remembered(n, "down" if n % 7 == 0 else "none", digest=f"d{n % 3}") for n in range(993)]
    picked = traffic.sample(known, size, "seed")
    assert len(picked) == len({one["id"] for one in picked}) == min(size, 993)
    assert traffic.sample(reversed(known), size, "seed") == picked
    if size < 993:
        assert traffic.sample(known, size, "another") != picked


def test_recorded_answers_are_those_of_the_target_s_version_with_what_the_model_was_given():
    given = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "why 1?"}]
    [row] = rows(RECORDED, [remembered(1, given=given), remembered(2, digest="d2")])
    assert (row[traffic.ANSWER], row[traffic.GIVEN]) == ("because 1", "Be brief.\n\nwhy 1?")
    with pytest.raises(Wrong, match=r"none of the 1 requests .* the target's version: wait .*answers: Again"):
        rows(RECORDED, [remembered(2, digest="d2")])


def test_without_rows_a_sentence_says_how_there_will_be_some():
    with pytest.raises(Wrong, match=r"spec\.capture: \{percent: 10\}, and wait for users"):
        rows(AGAIN, [])


def test_requests_without_what_a_new_version_requires_are_left_out_and_counted():
    run = replace(RUN, needs=("country",))
    able = remembered(1, variables={"question": "why?", "country": "NL"})
    content, told = traffic.chosen(run, AGAIN, json.dumps([able, remembered(2), remembered(3)]).encode())
    assert len(content.splitlines()) == 1
    assert told == "of 3 requests that are remembered; 2 lack a variable that the prompt requires"
    with pytest.raises(Wrong, match=r"none of the 1 requests .*requires \(country\)"):
        rows(AGAIN, [remembered(2)], run)


async def solved(values: dict[str, Any]) -> tuple[TaskState, list[Any]]:
    bodies: list[Any] = []

    async def generate(state: TaskState, **given: Any) -> TaskState:
        bodies.append(given["extra_body"])
        return state

    state = TaskState(ModelName("llmops/x"), "1", 1, values[traffic.INPUT], [], metadata={"values": values})
    door = Door("x", base_url="http://nobody.invalid/v1")
    await asked(ARM, door, Progress(1, 0), echo=True)(state, cast("Generate", generate))
    await door.aclose()
    return state, bodies


async def test_a_recorded_answer_is_taken_as_it_stands_and_nobody_is_asked():
    [row] = rows(RECORDED, [remembered(1, given=[{"role": "user", "content": "why 1?"}])])
    state, bodies = await solved(row)
    assert bodies == []
    assert state.output.completion == "because 1"
    assert state.output.metadata == {"given": "why 1?"}


async def test_asked_again_the_variables_and_the_caller_s_message_are_sent():
    [row] = rows(AGAIN, [remembered(1, question="and you?")])
    _, [body] = await solved(row)
    assert body["prompt"]["variables"] == {"question": "why 1?", "tone": "kind"}
    assert body["messages"] == [{"role": "user", "content": "and you?"}]


def spec(**more: Any) -> EvalJob:
    return EvalJob.model_validate(
        {
            "apiVersion": "llmops.dev/v1alpha1",
            "kind": "EvalJob",
            "metadata": {"name": "weekly", "namespace": "shop"},
            "spec": {"metrics": [{"name": "refusal"}], "dataset": {"traffic": {"sample": 50}}, **more},
        }
    )


def test_it_is_the_traffic_of_the_target_or_of_the_release_that_is_named():
    of = {"target": {"promptRef": {"name": "support"}}}
    named = {"dataset": {"traffic": {"sample": 50, "promptRef": {"name": "other"}, "answers": "Recorded"}}}
    found = source_of(spec(**of).spec, "shop", Settings())
    assert found == Source("traffic", "shop/support", endpoint=Settings().gateway_pods_url, version="Again", sample=50)
    other = source_of(spec(**of, **named).spec, "shop", Settings())
    assert other is not None
    assert (other.address, other.version) == ("shop/other", "Recorded")
    assert source_of(spec().spec, "shop", Settings()) is None  # a template
