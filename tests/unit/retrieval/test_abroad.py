"""Embedding through somebody's API: a real door on loopback, the API as its documentation has it, real tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.embedding_api import KEY, Api, api
from tests.unit.gateway.world import World
from tests.unit.retrieval.conftest import outcome_of, seen, work_of

from llmops.api import Settings
from llmops.kube.cluster import Cluster
from llmops.kube.resources import LLM_SERVICE, PROVIDER, Resource
from llmops.retrieval import door, embedder, services
from llmops.retrieval.children import DEADLINE, TRIES
from llmops.retrieval.embedder import BUSY, GRACE, PAUSE, Embedder, NotEmbedded, pause, refusal
from llmops.retrieval.ingest.main import _run
from llmops.retrieval.ingest.report import Folder
from llmops.retrieval.observe import Seen
from llmops.retrieval.plan import Rebuild, cheapest, plan
from llmops.retrieval.referred import Missing
from llmops.retrieval.run import Run
from llmops.retrieval.server.live import Live
from llmops.retrieval.space import SAME, Space
from llmops.retrieval.status import status
from llmops.retrieval.work import CONFIG_ERROR, FAILURE, EmbeddingWork, loads

Object = dict[str, Any]
KINDS = {"OpenAI": "/v1", "Cohere": "/v2", "Gemini": "/v1beta"}


class Place:
    """A door, what is behind it, and the token that a pod of an index would have."""

    def __init__(self, world: World, somebody: Api, folder: Path) -> None:
        self.world, self.somebody, self.folder = world, somebody, folder

    def offer(self, kind: str) -> EmbeddingWork:
        (self.folder / "theirs").write_text(KEY)
        self.world.add_provider("theirs", self.somebody.url + KINDS[kind], kind)
        self.world.add_external("vectors", "theirs", task="Embed", pricing={"inputPerMillionTokens": "1"})
        self.world.apply()
        self.show("faq-index-build")
        return EmbeddingWork(f"{self.world.url}/v1", "shop/vectors", "r1", provider=kind)

    def show(self, account: str, **more: Any) -> None:
        (self.folder / "token").write_text(self.world.token(account, **more) + "\n")


@pytest.fixture
def somebody() -> Iterator[Api]:
    with api() as one:
        yield one


@pytest.fixture
async def place(tmp_path: Path, somebody: Api, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setenv("LLMOPS_TOKEN_FILE", str(tmp_path / "token"))
    async with World(credentials_folder=str(tmp_path)) as world:
        yield Place(world, somebody, tmp_path)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as one:
        yield one


def embedder_of(session: aiohttp.ClientSession, work: EmbeddingWork) -> Embedder:
    return Embedder(session, work.url, work.model, work.provider)


@pytest.mark.parametrize(
    ("kind", "purposes"),
    [
        ("OpenAI", ["", ""]),
        ("Cohere", ["search_document", "search_query"]),
        ("Gemini", ["RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"]),
    ],
)
async def test_passages_and_questions_are_told_apart_where_the_provider_does(
    place: Place, session: aiohttp.ClientSession, kind: str, purposes: list[str]
) -> None:
    asked = embedder_of(session, place.offer(kind))
    passages = await asked.embed(["Boots are warm.", "Tents are dry."])
    (question,) = await asked.embed(["warm boots?"], purpose="query")
    assert [one["purpose"] for one in place.somebody.asked] == purposes
    near = [sum(a * b for a, b in zip(question, one, strict=True)) for one in passages]
    assert near[0] > near[1] + 0.2


async def test_what_is_asked_counts_at_the_door_like_any_other_use(
    place: Place, session: aiohttp.ClientSession
) -> None:
    await embedder_of(session, place.offer("Cohere")).embed(["four words of text"])
    used: dict[str, tuple[Any, ...]] = {
        one.name: (one.requests, one.tokens, one.cost) for one in place.world.door.accounts.all()
    }
    assert used["serviceaccount:shop/faq-index-build"] == (1, 4, pytest.approx(4e-6))
    assert used["provider:theirs"][1:] == (4, pytest.approx(4e-6))


async def test_a_token_that_was_replaced_is_read_again(place: Place, session: aiohttp.ClientSession) -> None:
    asked = embedder_of(session, place.offer("Cohere"))
    place.show("faq-index-query", seconds=-60)
    with pytest.raises(NotEmbedded, match="shop/vectors answered 401: the service-account token has expired"):
        await asked.embed(["x"])
    place.show("faq-index-query")
    assert await asked.embed(["x"])
    (place.folder / "token").unlink()
    with pytest.raises(NotEmbedded, match="FileNotFoundError"):
        await asked.embed(["x"])


async def test_a_service_of_our_own_is_shown_no_token(place: Place, session: aiohttp.ClientSession) -> None:
    place.offer("OpenAI")
    with pytest.raises(NotEmbedded, match="no credential"):
        await Embedder(session, f"{place.world.url}/v1", "shop/vectors").embed(["x"])


@pytest.mark.parametrize("wrong", ["[null, 1]", "null", "[]", '["1", "2"]', "[[1], [2]]", '"AACAPw=="'])
def test_a_vector_that_is_none_is_the_fault_of_its_text_alone(wrong: str) -> None:
    """So that a build leaves that passage out, and names it."""
    answer = '{"data": [{"index": 0, "embedding": [0.5, 1]}, {"index": 1, "embedding": %s}]}' % wrong  # noqa: UP031
    with pytest.raises(NotEmbedded, match="shop/vectors gave a vector that is none") as caught:
        embedder._vectors(answer.encode(), 2, "shop/vectors")
    assert (caught.value.final, caught.value.everything) == (True, False)
    assert embedder._vectors(answer.replace(wrong, "[1, -0.5]").encode(), 2, "m") == [[0.5, 1], [1, -0.5]]


def probes(vectors: Sequence[Sequence[float]]) -> Space:
    return Space(tuple(map(tuple, vectors)))


@pytest.mark.parametrize(("noise", "same"), [(0.0, True), (1e-4, True), (5e-4, True), (5e-3, False)])
async def test_a_model_may_wobble_a_little_and_not_more(
    place: Place, session: aiohttp.ClientSession, noise: float, same: bool
) -> None:
    """Of 256 numbers here; published are 2.8e-5 of 3072 for OpenAI (a cosine of 0.999998), which is far inside."""
    asked = embedder_of(session, place.offer("Cohere"))
    place.somebody.noise = noise
    first = await asked.space("")
    told = [first.differs(await asked.space("")) for _ in range(20)]
    assert {one is None for one in told} == {same}
    assert place.somebody.purposes() == {"search_document"}
    if not same:
        assert all("the same sentence lies elsewhere" in str(one) for one in told)


def test_the_same_is_wide_enough_for_what_was_published_and_narrow_enough_for_another_precision() -> None:
    assert 1 - (1 - SAME) / 100 < 1 - 3072 * 2.8e-5**2
    assert SAME > 0.998


async def test_a_model_that_wobbles_too_much_is_refused_before_anything_is_paid_for(place: Place) -> None:
    place.offer("Cohere")
    place.somebody.noise = 2e-2
    code, failure = await job(place)
    assert (code, "shop/vectors embeds the same text differently each time" in failure) == (CONFIG_ERROR, True)
    assert len(place.somebody.asked) == 2


async def job(place: Place, kind: str = "Cohere") -> tuple[int, str]:
    """`llmops index`, which has no engine to go to: it ends before it needs one, or with another sentence."""
    made = replace(work_of(seen()), embedding=place.offer(kind), engine="http://127.0.0.1:1")
    (place.folder / "work.json").write_text(made.dumps())
    (place.folder / "questions.jsonl").write_text("")
    code = await _run(place.folder, place.folder, place.folder, Folder(place.folder / "out"))
    failure = place.folder / "out" / FAILURE
    return code, failure.read_text() if failure.exists() else ""


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "Provider theirs refused our credential (401): its admin replaces data key theirs"),
        (403, "Provider theirs refused our credential (403)"),
        (404, "knows no model their-model"),
    ],
)
async def test_what_an_admin_has_to_mend_ends_the_build_with_what_to_write(
    place: Place, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    monkeypatch.setattr(embedder, "GRACE", 0.0)
    place.somebody.next = [status] * 10
    code, failure = await job(place)
    assert code == CONFIG_ERROR
    assert words in failure
    assert KEY not in failure


async def test_a_door_that_does_not_know_the_service_yet_is_asked_again(
    place: Place, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "PAUSE", 0.05)
    asked = embedder_of(session, place.offer("Cohere"))
    place.somebody.next = [401, 404, 403]
    assert await asked.embed(["x"], 60.0)
    with pytest.raises(NotEmbedded, match="answered 404"):
        await Embedder(session, f"{place.world.url}/v1", "shop/other", "Cohere").embed(["x"])


async def test_a_provider_that_is_busy_is_left_alone_as_long_as_it_says(
    place: Place, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def at_once(*given: Any) -> float | None:
        wait = pause(*given)
        if wait is not None:
            waited.append(wait)
        return wait and 0.0

    asked = embedder_of(session, place.offer("Cohere"))
    place.somebody.next, place.somebody.after = [429, 429], "7"
    monkeypatch.setattr(embedder, "pause", at_once)
    assert await asked.embed(["x"], 60.0)
    assert [7 <= one <= 7 * 1.2 for one in waited] == [True, True]
    place.somebody.next = [429]
    with pytest.raises(NotEmbedded, match="shop/vectors answered 429: theirs: not now, …"):
        await asked.embed(["x"])  # a question does not wait


@pytest.mark.parametrize(
    ("problem", "waited", "tries", "patience", "wait"),
    [
        (NotEmbedded("away"), 0, 0, 60, (PAUSE, PAUSE)),
        (NotEmbedded("away"), 61, 9, 60, None),
        (NotEmbedded("away"), 0, 0, 0, None),
        (NotEmbedded("wrong", final=True), 0, 0, 60, None),
        (NotEmbedded("wrong?", final=True, unsure=True), GRACE - 1, 0, 60, (PAUSE, PAUSE)),
        (NotEmbedded("wrong?", final=True, unsure=True), GRACE + 1, 0, 60, None),
        (NotEmbedded("wrong?", final=True, unsure=True), 0, 0, 0, None),
        (NotEmbedded("busy", after=0.0), 0, 0, 60, (0.5, 0.6)),
        (NotEmbedded("busy", after=0.0), 300, 10, 60, (30, 36)),
        (NotEmbedded("busy", after=45.0), 300, 10, 60, (45, 54)),
        (NotEmbedded("busy", after=45.0), BUSY - 20, 10, 60, None),
        (NotEmbedded("busy", after=45.0), 0, 0, 0, None),
        (NotEmbedded("spent", final=True, after=40_000.0), 0, 0, 60, None),
    ],
)
def test_how_long_is_waited(
    problem: NotEmbedded, waited: float, tries: int, patience: float, wait: tuple[float, float] | None
) -> None:
    found = pause(problem, waited, tries, patience)
    assert found is None if wait is None else found is not None and wait[0] <= found <= wait[1]


def test_all_the_tries_of_a_job_that_is_only_told_to_wait_stay_within_its_deadline() -> None:
    assert (TRIES + 1) * BUSY < DEADLINE


@pytest.mark.parametrize(
    ("status", "error", "headers", "abroad", "final", "everything", "after"),
    [
        (429, {}, {"retry-after": "7"}, True, False, True, 7.0),
        (429, {}, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, True, False, True, 0.0),
        (429, {"code": "insufficient_quota"}, {"retry-after": "40000"}, True, True, True, 40_000.0),
        (503, {"code": "provider_not_ready"}, {"retry-after": "30"}, True, False, True, 30.0),
        (503, {}, {}, False, False, True, None),
        (502, {"code": "upstream_failed"}, {}, True, False, True, None),
        (502, {"code": "provider_failed"}, {}, True, True, True, None),
        (502, {"code": "provider_failed"}, {}, False, False, True, None),
        (400, {}, {}, True, True, False, None),
        (401, {}, {}, False, True, True, None),
    ],
)
def test_what_an_answer_means(
    status: int,
    error: Object,
    headers: dict[str, str],
    abroad: bool,
    final: bool,
    everything: bool,
    after: float | None,
) -> None:
    found = refusal("m", status, json.dumps({"error": {"message": "words", **error}}).encode(), headers, abroad)
    assert (str(found), found.final, found.everything) == (f"m answered {status}: words", final, everything)
    assert found.after == after


SERVICE: Object = {
    "metadata": {"name": "minilm", "namespace": "shop"},
    "spec": {"external": {"providerRef": {"name": "theirs"}, "model": "embed-v4.0", "task": "Embed"}},
    "status": {"stable": {"digest": "d" * 64}, "conditions": [{"type": "Available", "status": "True"}]},
}


class Known(Cluster):
    """A cluster with one service and perhaps its Provider."""

    def __init__(self, service: Object, kind: str | None) -> None:
        self.settings = Settings()
        spec = {"type": kind, "baseURL": "https://api.example.org/v2"}
        provider = {"metadata": {"name": "theirs", "namespace": "llmops-system"}, "spec": spec}
        self._there = {LLM_SERVICE: service, PROVIDER: provider if kind else None}

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        return self._there.get(resource)


def changed(**spec: Any) -> Object:
    return {**SERVICE, "spec": {**SERVICE["spec"], **spec}}


def asked(service: Object = SERVICE, kind: str | None = "Cohere", **embedding: Any) -> EmbeddingWork | Missing:
    return services.embedder_of(seen({"embedding": embedding}).index, Known(service, kind))


@pytest.mark.parametrize(("kind", "batch"), [("Cohere", 96), ("Gemini", 100), ("OpenAI", 500)])
def test_the_door_is_asked_for_an_external_service_and_never_for_more_than_its_provider_takes(
    kind: str, batch: int
) -> None:
    door_ = Settings().gateway_url
    assert asked(kind=kind, batchSize=500) == EmbeddingWork(
        door_, "shop/minilm", "d" * 64, batch_size=batch, provider=kind
    )


WAITS = {"stable": {"digest": "d"}, "conditions": [
    {"type": "Available", "status": "False"}, {"type": "Ready", "status": "False", "message": "there is no Provider x"},
]}  # fmt: skip
GENERATES = {"external": {"providerRef": {"name": "theirs"}, "model": "m"}}


@pytest.mark.parametrize(
    ("service", "kind", "words", "exists"),
    [
        (changed(**GENERATES), "Cohere", "task Generate: refer to one with spec.external.task Embed", False),
        (changed(access={"serviceAccounts": "Deny"}), "Cohere", "remove spec.access.serviceAccounts: Deny", True),
        (
            SERVICE,
            "Anthropic",
            "Anthropic has no embeddings; refer to a Provider of type Cohere, Gemini, OpenAI",
            False,
        ),
        (SERVICE, None, "does not serve yet", True),
        ({**SERVICE, "status": WAITS}, "Cohere", "does not serve yet: there is no Provider x", True),
    ],
)
def test_what_stands_in_the_way_is_said(service: Object, kind: str | None, words: str, exists: bool) -> None:
    found = asked(service, kind)
    assert isinstance(found, Missing)
    assert words in found.sentence
    assert found.exists == exists


def external(**observed: Any) -> Seen:
    found = asked()
    return seen(embedder=found, **{"through_door": True, **observed})


def test_only_an_index_that_asks_the_door_has_a_token_for_it() -> None:
    for made, has in ((seen(), False), (external(), True)):
        children = {one["kind"]: one for one in plan(made).children if one["kind"] in ("Deployment", "Job")}
        servers = [one for one in plan(made).children if one["kind"] == "Deployment"]
        pods = [children["Job"], next(one for one in servers if one["metadata"]["name"] == "faq-index")]
        for one in pods:
            pod = one["spec"]["template"]["spec"]
            tokens = [
                source["serviceAccountToken"]
                for volume in pod["volumes"]
                for source in volume.get("projected", {}).get("sources", [])
                if "serviceAccountToken" in source
            ]
            audiences = {token.get("audience") for token in tokens} - {None}
            assert audiences == ({"llmops"} if has else set())
            assert pod["automountServiceAccountToken"] is False
            mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
            assert (str(Path(Settings().token_file).parent) in mounts) == has
    accounts = {one["metadata"]["name"] for one in plan(external()).children if one["kind"] == "ServiceAccount"}
    bound = {one["subjects"][0]["name"] for one in plan(external()).children if one["kind"] == "RoleBinding"}
    assert (accounts, bound) == ({"faq-index-build", "faq-index-query"}, {"faq-index-build"})


def test_another_way_of_speaking_is_another_space_and_one_s_own_service_has_the_digests_it_always_had() -> None:
    work = work_of(seen())
    assert work.parts.space == "013bdfe4db3894b416f840d1f64beb454cd93f8ee692edd147c3237702e525a2"
    found = asked()
    assert isinstance(found, EmbeddingWork)
    there = replace(work, embedding=found)
    other = replace(work, embedding=replace(found, provider="OpenAI"))
    assert cheapest(there.parts, other.parts) == Rebuild(copy_vectors=False)
    assert loads(there.dumps()) == there


def test_the_token_stays_as_long_as_a_generation_that_needs_it_is_kept() -> None:
    from datetime import UTC, datetime

    def after(one: Seen, kept: tuple[int, ...], generation: int) -> Object:
        done = replace(outcome_of(one, generation=generation), kept=kept)
        run = Run(done.key, None, {"data": {"outcome.json": done.dumps()}})
        made = replace(one, runs=(run,))
        return status(made, plan(made), datetime(2026, 1, 1, tzinfo=UTC))

    first = after(external(), (1,), 1)
    assert first["memory"]["throughDoor"] == [1]
    own = after(seen(status=first), (1, 2), 2)
    assert own["memory"]["throughDoor"] == [1]
    assert services.through_door(seen(status=own).index, Known(changed(external=None), None))
    last = after(seen(status=own), (2, 3), 3)
    assert "throughDoor" not in last["memory"]
    assert "throughDoor" not in after(seen(), (1,), 1)["memory"]


def test_somebody_s_api_is_looked_at_seldom() -> None:
    session: Any = None
    assert Embedder(session, "http://x", "m", "Cohere").check_every == door.CHECK_EVERY == 600
    assert Embedder(session, "http://x", "m").check_every == 10
    assert asdict(EmbeddingWork("u", "m", "r"))["provider"] == ""


class Aliased:
    """An engine in which an alias points to one of the generations that are told of."""

    def __init__(self) -> None:
        self.active, self.generations = "", dict[str, Object]()

    async def points_to(self, alias: str) -> str:
        return self.active

    async def told(self, collection: str) -> Object:
        return self.generations[collection]

    async def load(self, collection: str) -> None:
        """They are."""

    async def collections(self, prefix: str) -> list[str]:
        return [*self.generations]


async def test_a_generation_that_cannot_be_flipped_to_is_not_asked_about_each_second(
    place: Place, session: aiohttp.ClientSession
) -> None:
    work, somebody, there = place.offer("Cohere"), place.somebody, Aliased()

    async def built(number: int) -> None:
        """A generation, by the model of today, and the alias on it."""
        space = (await embedder_of(session, work).space("")).dumps()
        there.active = f"faq__g{number}_x"
        there.generations[there.active] = {"generation": number, "space": space, "embedding": asdict(work)}

    reader: Any = there
    live = Live(reader, session, "faq")
    await built(1)
    somebody.asked.clear()
    for _ in range(3):
        await live.look()
    assert live.served is not None
    assert (live.served.generation, live.why_not, len(somebody.asked)) == (1, None, 1)

    somebody.model = "another"
    await built(2)
    somebody.model = ""
    somebody.asked.clear()
    for _ in range(3):
        await live.look()
    assert (live.served.generation, live.why_not, len(somebody.asked)) == (1, None, 1)
    assert "generation 2 is not served: shop/vectors no longer embeds as it did" in str(live.problem)

    somebody.next = [429]
    there.active, somebody.asked = "faq__g3_x", []
    there.generations["faq__g3_x"] = {**there.generations["faq__g1_x"], "generation": 3}
    for _ in range(3):
        await live.look()
    assert (live.served.generation, "answered 429" in str(live.problem), somebody.asked) == (1, True, [])
