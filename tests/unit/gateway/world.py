"""A door on loopback, real engines' stand-ins behind it, and the objects that configure it: no cluster, no mock."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import jwt
import openai
import orjson
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from llmops.api import Settings, digest, names
from llmops.gateway.app import Door, client_session
from llmops.gateway.auth import Tokens
from llmops.gateway.compile import Compiler, Objects
from llmops.gateway.main import Server, config

Object = dict[str, Any]
Answer = Callable[[web.Request, Object], Awaitable[web.StreamResponse]]
ISSUER = "https://kubernetes.default.svc"
KEY = "llmops_shop.app.correct-horse-battery-staple"


async def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Returns when `holds()`; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


class Clock:
    """The loop, as the door has it: it is `now` until a test moves that, however long the test takes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._loop, self.now = loop, now

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class Engine:
    """An OpenAI-compatible server that answers `answer`: by default it repeats the last message, in three pieces."""

    def __init__(self) -> None:
        self.asked: list[Object] = []
        self.gone = 0
        self.answer: Answer = self.echo
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self.runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_port=True)  # so that World.kill can keep it
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        await self.runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        try:
            return await self.answer(request, body)
        except asyncio.CancelledError:
            self.gone += 1
            raise

    async def echo(self, request: web.Request, body: Object) -> web.StreamResponse:
        if request.path.endswith("/embeddings"):
            vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}
            return web.json_response(
                {
                    "object": "list",
                    "data": [vector],
                    "model": body["model"],
                    "usage": {"prompt_tokens": 4, "total_tokens": 4},
                }
            )
        text = body["messages"][-1]["content"] if body["messages"] else ""
        if body.get("stream"):
            return await self.pieces(request, body, [text[:2], text[2:]])
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(
            {
                "id": "chatcmpl-theirs",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [choice],
                "usage": USAGE,
            }
        )

    async def pieces(
        self, request: web.Request, body: Object, texts: list[str], end: bool = True
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for text in texts:
            await response.write(event(body["model"], [{"index": 0, "delta": {"content": text}}]))
        if end:
            await response.write(event(body["model"], [], usage=USAGE) + b"data: [DONE]\n\n")
        return response


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(model: str, choices: list[Object], **more: Any) -> bytes:
    chunk = {"id": "chatcmpl-theirs", "object": "chat.completion.chunk", "created": 1, "model": model}
    return b"data: " + orjson.dumps({**chunk, "choices": choices, **more}) + b"\n\n"


def fails(status: int) -> Answer:
    """An engine that answers this status."""

    async def answer(request: web.Request, body: Object) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no", "type": "engine"}}, status=status)

    return answer


def slowly(world: World, engine: Engine, seconds: float, first_read: asyncio.Event | None = None) -> Answer:
    """An engine that takes its time, on the door's clock: before it says anything, or once its first piece was read."""

    async def answer(request: web.Request, body: Object) -> web.StreamResponse:
        if first_read is None:
            world.clock.now += seconds
            return await engine.echo(request, body)
        world.clock.now += 1  # a first byte in no time at all would be taken for none
        response = await engine.pieces(request, body, ["he"], end=False)
        await first_read.wait()
        world.clock.now += seconds
        await response.write(event(body["model"], [], usage=USAGE) + b"data: [DONE]\n\n")
        return response

    return answer


class World:
    """`async with World() as world`: change the objects, `await world.apply()`, speak to `world.client()`."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.objects: dict[str, list[Object]] = {
            kind: [] for kind in ("services", "slices", "releases", "revisions", "keys", "namespaces", "providers")
        }
        self._signing = ec.generate_private_key(ec.SECP256R1())
        self._versions = 0
        self.compiler = Compiler()
        self.gateways = 1

    async def __aenter__(self) -> World:
        async with AsyncExitStack() as self._stack:
            await self._start()
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        session = await self._stack.enter_async_context(client_session())
        self.door = Door(self.settings, Tokens(self._jwks), session, "gateway-0")
        self.clock, today = Clock(self.door.loop, self.door.heard_at), datetime.datetime.now(datetime.UTC)
        self.door.loop = self.clock  # type: ignore[assignment]
        self.door.today = lambda: today  # type: ignore[method-assign]  # no midnight falls into a test
        self.server = Server(config(self.door, "127.0.0.1", 0, self.settings))
        self._serving = asyncio.create_task(self.server.serve())
        self._stack.push_async_callback(self._end)
        await until(lambda: self.server.started)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"
        self.http = await self._stack.enter_async_context(aiohttp.ClientSession(self.url))
        self.engine = await self.new_engine()
        self.add_key(KEY)

    async def _end(self) -> None:
        self.server.should_exit = True
        await self._serving

    async def new_engine(self) -> Engine:
        engine = Engine()
        await engine.start()
        self._stack.push_async_callback(engine.stop)
        return engine

    async def kill(self, engine: Engine) -> None:
        """It is gone, and its port refuses until the test ends: bound and not listening, so that nobody takes it."""
        kept = self._stack.enter_context(socket.socket())
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", engine.port))
        await engine.stop()

    def client(self, credential: str = KEY, **options: Any) -> openai.AsyncOpenAI:
        """OpenAI's own client, which retries nothing here so that every error is seen, and on a busy machine waits
        longer than its 5 s for a connection. Reading the authorities of a TLS that nobody speaks here took 30 ms."""
        http = openai.DefaultAsyncHttpxClient(verify=False)
        client = openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key=credential, max_retries=0, timeout=120.0, http_client=http, **options
        )
        self._stack.push_async_callback(client.close)
        return client

    def seen(self, **more: Any) -> Objects:
        """The objects, as the follower holds them."""
        return Objects(**{**self.objects, **more})

    def apply(self) -> None:
        """What the follower does when something changed."""
        self.door.swap(self.compiler.snapshot(self.seen(gateways=self.gateways)))

    def running(self) -> int:
        """Requests under way, of all callers."""
        return sum(account.running for account in self.door.accounts.all())

    def add_service(self, name: str, *engines: Engine, task: str = "Generate", **spec: Any) -> Object:
        model = {"uri": "file:///models/tiny.gguf", "task": task}
        made = self._object("LLMService", name, {"model": model, "engine": {"type": "LlamaCpp"}, **spec})
        self.objects["services"].append(made)
        if engines:
            self.point(name, *engines)
        return made

    def point(self, name: str, *engines: Engine, kind: str = "LLMService", service: str | None = None) -> None:
        """These are the Ready pods of the service now."""
        slices = self.objects["slices"]
        slices[:] = [one for one in slices if one["metadata"]["name"] != name]
        for engine in engines:
            home = f"{name}-llm" if kind == "LLMService" else name
            labels = {names.OWNER_KIND: kind, names.OWNER_NAME: name, "kubernetes.io/service-name": service or home}
            one = self._object("EndpointSlice", name, {}, labels=labels)
            one["ports"] = [{"name": "http", "port": engine.port}]
            one["endpoints"] = [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}]
            slices.append(one)

    def add_provider(self, name: str, url: str, kind: str = "OpenAI", **spec: Any) -> Object:
        """As the follower has them: of the admin's namespace."""
        made = self._object("Provider", name, {"type": kind, "baseURL": url, "access": {"from": "All"}, **spec})
        made["metadata"]["namespace"] = self.settings.system_namespace
        self.objects["providers"] = [one for one in self.objects["providers"] if one["metadata"]["name"] != name]
        self.objects["providers"].append(made)
        return made

    def add_external(self, name: str, provider: str, task: str = "Generate", **spec: Any) -> Object:
        """An LLMService that is somebody's API."""
        external = {"providerRef": {"name": provider}, "model": "their-model", "task": task}
        made = self._object("LLMService", name, {"external": external, **spec})
        self.objects["services"] = [one for one in self.objects["services"] if one["metadata"]["name"] != name]
        self.objects["services"].append(made)
        return made

    def add_key(self, key: str, name: str = "app", **spec: Any) -> Object:
        hashes = [{"sha256": hashlib.sha256(key.encode()).hexdigest()}]
        made = self._object("GatewayKey", name, {"keys": hashes, **spec})
        self.objects["keys"] = [one for one in self.objects["keys"] if one["metadata"]["name"] != name] + [made]
        return made

    def add_version(self, release: str, version: str, system: str = "Be brief.", **content: Any) -> str:
        """A Revision; its digest."""
        whole = {
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": "{{ question }}"}],
            "variables": {
                "type": "object",
                "required": ["question"],
                "properties": {"question": {"type": "string", "maxLength": 40}},
            },
            "serviceRef": {"name": "support"},
            "parameters": {"temperature": 0, "maxTokens": 16},
            **content,
        }
        identity = digest(whole)
        spec = {"ofKind": "PromptRelease", "ofName": release, "digest": identity, "version": version, "content": whole}
        self.objects["revisions"].append(self._object("Revision", f"{release}-prel-{identity[:10]}", spec))
        return identity

    def release(self, name: str, *told: Any, **more: Any) -> None:
        """What the operator's status says now, and the door knows it."""
        self.put_release(name, *told, **more)
        self.apply()

    def put_release(
        self,
        name: str,
        stable: str | None,
        candidate: str | None = None,
        weight: int = 0,
        attempt: int = 1,
        **moving: Any,
    ) -> None:
        """What the operator's status says."""
        status: Object = {"phase": "Canary" if candidate else "Released" if stable else "Evaluating"}
        if stable:
            status["stable"] = {"digest": stable, "version": "1.0.0"}
        if candidate:
            status["candidate"] = {"digest": candidate, "version": "2.0.0", "attempt": attempt, "weight": weight}
            status["candidate"] |= moving
        messages = [{"role": "user", "content": "x"}]
        made = self._object(
            "PromptRelease", name, {"serviceRef": {"name": "support"}, "version": "1.0.0", "messages": messages}
        )
        made["status"] = status
        self.objects["releases"] = [one for one in self.objects["releases"] if one["metadata"]["name"] != name] + [made]

    def token(
        self,
        name: str = "app",
        namespace: str = "shop",
        audience: str = "llmops",
        seconds: float = 600.0,
        signing: ec.EllipticCurvePrivateKey | None = None,
    ) -> str:
        """A service account's projected token."""
        claims = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "aud": [audience],
            "exp": time.time() + seconds,
        }
        return jwt.encode(claims, signing or self._signing, algorithm="ES256", headers={"kid": "one"})

    async def _jwks(self, path: str) -> Object:
        if path == "/openid/v1/jwks":
            public = orjson.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._signing.public_key()))
            return {"keys": [{**public, "kid": "one", "alg": "ES256"}]}
        return {"issuer": ISSUER}

    def _object(self, kind: str, name: str, spec: Object, labels: Object | None = None) -> Object:
        self._versions += 1
        metadata = {"name": name, "namespace": "shop", "resourceVersion": str(self._versions), "labels": labels or {}}
        return {"kind": kind, "metadata": metadata, "spec": spec}
