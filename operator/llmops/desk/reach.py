"""An index's query servers, or a model, from wherever a kubeconfig is: through the API server's proxy of its Service,
or of each of its pods where all have to be asked.

What goes wrong is said for the person who asked: what is missing, who can give it, and what to type instead. `url`
stands for a query server that is reached otherwise, such as by `kubectl port-forward`; no cluster is asked then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp

from llmops.api import VectorIndex, names
from llmops.desk.look import condition
from llmops.desk.objects import Unknown, resource
from llmops.kube.client import Client
from llmops.kube.errors import ApiError, Forbidden, Invalid, NotFound
from llmops.kube.resources import POD, Object
from llmops.retrieval.pods import PART, SERVER

SECONDS = 30.0
UNREACHED = ("no endpoints available", "error trying to reach service", "TimeoutError", "no route to host")


def service_path(namespace: str, service: str, port: int, path: str) -> str:
    """Where the API server passes requests on to a Service."""
    return f"/api/v1/namespaces/{namespace}/services/http:{service}:{port}/proxy{path}"


def pod_path(namespace: str, pod: str, port: int, path: str) -> str:
    """Where the API server passes requests on to one pod."""
    return f"/api/v1/namespaces/{namespace}/pods/http:{pod}:{port}/proxy{path}"


@dataclass(frozen=True)
class Each:
    """What each query server answered, by its name; and, in a sentence, which were not asked or did not."""

    answers: Mapping[str, Object]
    lacking: str = ""


class Index:
    """The query servers of one index, asked from outside of the cluster."""

    def __init__(self, namespace: str, name: str, url: str | None = None) -> None:
        self.namespace, self.name, self._url = namespace, name, url
        self.whole = f"VectorIndex {namespace}/{name}"

    async def post(self, path: str, body: Object) -> Object:
        """The answer to a POST; Unknown says why there is none, and what to do."""
        return await self._ask(path, body)

    async def get(self, path: str, **query: object) -> Object:
        """The answer to a GET."""
        return await self._ask(path + (f"?{urlencode(query)}" if query else ""), None)

    async def each(self, path: str) -> Each:
        """The answers to a GET of all that are there, or of the one that may be asked."""
        if self._url is not None:
            return Each({self._url: await self.get(path)})
        async with await Client.connect(timeout=SECONDS) as client:
            one = await self._object(client)
            try:
                pods = await self._pods(client)
                found = await _of_pods(client, self.namespace, pods, path) if len(pods) > 1 else None
            except Forbidden as problem:
                many = ((one.get("spec") or {}).get("query") or {}).get("replicas", 1)
                lacking = _right_to_pods(problem, self.namespace, many) if many > 1 else ""
                return Each({"": await self.get(path)}, lacking)
        return found if found is not None and found.answers else Each({"": await self.get(path)})

    async def _pods(self, client: Client) -> list[str]:
        labels = {**names.labels(VectorIndex.KIND, self.name), PART: SERVER}
        chosen = ",".join(f"{name}={value}" for name, value in labels.items())
        there = (await client.list(POD, self.namespace, chosen))["items"]
        running = [one for one in there if (one.get("status") or {}).get("phase") == "Running"]
        return [one["metadata"]["name"] for one in running if not one["metadata"].get("deletionTimestamp")]

    async def _ask(self, path: str, body: Object | None) -> Object:
        if self._url is not None:
            return await _directly(self._url.rstrip("/") + path, body)
        async with await Client.connect(timeout=SECONDS) as client:
            one = await self._object(client)
            try:
                at = service_path(self.namespace, f"{self.name}-index", 8080, path)
                found: Object = await client.raw(at, body)
                return found
            except ApiError as problem:
                raise Unknown(self.told(problem, one)) from None

    async def _object(self, client: Client) -> Object:
        """The index as it stands; {} for who may not look at it."""
        try:
            return await client.get(resource(VectorIndex), self.namespace, self.name)
        except Forbidden:
            return {}
        except NotFound:
            there = (await client.list(resource(VectorIndex), self.namespace))["items"]
            names = ", ".join(sorted(one["metadata"]["name"] for one in there))
            raise Unknown(
                f"{self.whole} does not exist: "
                + (f"this namespace has {names}" if names else "this namespace has none; write another with -n")
            ) from None

    def told(self, problem: ApiError, one: Object) -> str:
        """In a sentence: why it was not answered, and what to do."""
        if isinstance(problem, Invalid):  # the query server's own: the sentence says what to write
            return str(problem)
        if isinstance(problem, Forbidden) and problem.status != 401:
            return f"{self.whole}: {_right(problem, self.namespace)}; or {self._forward()}"
        if one and condition(one, "Available").get("status") != "True":
            return f"{self.whole} answers nothing now: {_why(one)} (llmops explain vi {self.name} -n {self.namespace})"
        if isinstance(problem, NotFound) or any(sign in str(problem) for sign in UNREACHED):
            return (
                f"{self.whole} is not reached through the API server ({problem}): its NetworkPolicy, or the network "
                f"plugin, may keep the API server out; {self._forward()}"
            )
        return str(problem)

    def _forward(self) -> str:
        return (
            f"kubectl port-forward -n {self.namespace} svc/{self.name}-index 8080, and ask again with "
            "--url http://localhost:8080"
        )


async def _of_pods(client: Client, namespace: str, pods: list[str], path: str) -> Each:
    asked = (client.raw(pod_path(namespace, one, 8080, path)) for one in pods)
    answers, lacking = dict[str, Object](), list[str]()
    for pod, one in zip(pods, await asyncio.gather(*asked, return_exceptions=True), strict=True):
        if isinstance(one, ApiError) and not isinstance(one, Forbidden):
            lacking.append(f"{pod} did not answer ({one})")
        elif isinstance(one, BaseException):
            raise one
        else:
            answers[pod] = one
    return Each(answers, "; ".join(lacking))


def _right_to_pods(problem: ApiError, namespace: str, many: int) -> str:
    return (
        f"only one of {many} query servers was asked, since you may not ask each pod ({problem}): ask for list on pods "
        f"and get on pods/proxy in namespace {namespace}, which Kubernetes' own role edit has"
    )


def _right(problem: ApiError, namespace: str) -> str:
    """What to ask an administrator for."""
    return (
        f"you may not reach services through the API server ({problem}): ask for get and create on services/proxy in "
        f"namespace {namespace}, which Kubernetes' own role edit has"
    )


def _why(one: Object) -> str:
    """The conditions that are not as they should be, the one that matters most first."""
    said = [condition(one, type_) for type_ in ("Ready", "Available", "EmbeddingMatches", "EngineReady")]
    sentences = [each["message"] for each in said if each.get("status") == "False" and each.get("message")]
    return "; ".join(dict.fromkeys(sentences)) or "nothing was reported yet: is the operator running?"


async def _directly(url: str, body: Object | None) -> Object:
    method = "GET" if body is None else "POST"
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with aiohttp.request(method, url, json=body, timeout=timeout) as reply:
            answer: Any = await reply.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as problem:
        raise Unknown(f"no query server answers at {url}: {problem or type(problem).__name__}") from None
    if reply.status != 200 or not isinstance(answer, dict):
        told = answer.get("error") if isinstance(answer, dict) else None
        raise Unknown(str((told or {}).get("message") or f"{url} answered {reply.status}"))
    return answer
