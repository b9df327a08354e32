"""A bento of ours: a GGUF model by llama.cpp (the xllamacpp wheel) behind OpenAI's protocol, on CPUs.

llama.cpp listens on this machine only, and every request under /v1 is handed to it as it came, streams too. /livez and
/readyz ask it whether it still answers, so a dead engine behind a living BentoML is seen; /metrics has both's.

    bentoml serve --arg model=/models/m.gguf --arg name=shop/support --arg context_length=4096 service:Model
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import aiohttp
import bentoml
import pydantic
import xllamacpp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

LONGEST_REQUEST = 3600  # seconds; BentoML's own default ends a stream after 60
HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}  # of one connection, not of a message


class Arguments(pydantic.BaseModel):
    """What `bentoml serve --arg` says; the operator writes these (serving/engines/bentoml.py). A bento that was built
    forgets them (BentoML 1.4.39 puts those of its build in their place), so OpenLLM's are in the environment."""

    model: str = os.environ.get("MODEL", "")  # a GGUF file
    name: str = os.environ.get("NAME", "model")
    task: str = os.environ.get("TASK", "Generate")
    context_length: int = int(os.environ.get("CONTEXT_LENGTH", "2048"))  # tokens a request
    parallel: int = 4  # requests at a time
    threads: int = 1


ARGUMENTS = bentoml.use_arguments(Arguments)


class Engine:
    """The llama.cpp server of this process, once it is started, and the connections to it."""

    def __init__(self) -> None:
        self.address = ""
        self.http: aiohttp.ClientSession | None = None

    def start(self) -> None:
        self.server = xllamacpp.Server(parameters(ARGUMENTS))
        self.address = self.server.listening_address

    def session(self) -> aiohttp.ClientSession:
        if self.http is None:
            unlimited = aiohttp.TCPConnector(limit=0)  # llama.cpp queues what is too much at a time
            self.http = aiohttp.ClientSession(connector=unlimited, timeout=aiohttp.ClientTimeout(LONGEST_REQUEST))
        return self.http

    async def answers(self) -> bool:
        try:
            async with self.session().get(f"{self.address}/health", timeout=aiohttp.ClientTimeout(3)) as reply:
                return reply.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


ENGINE = Engine()


def parameters(wanted: Arguments) -> xllamacpp.CommonParams:
    """As images/llamacpp/serve.py has them, on a port of the system's choice that only this machine reaches."""
    given = xllamacpp.CommonParams()
    given.model.path = wanted.model
    given.model_alias = {wanted.name}
    given.hostnames = ["127.0.0.1"]
    given.port = 0
    given.n_parallel = wanted.parallel
    given.n_ctx = wanted.context_length * wanted.parallel
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = wanted.threads
    given.endpoint_metrics = True
    given.use_jinja = True
    given.warmup = False
    if wanted.task == "Embed":
        given.embedding = True
        given.n_batch = given.n_ubatch = max(2048, wanted.context_length)
        given.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return given


async def hand_on(request: Request) -> Response:
    """The engine's reply, piece by piece; who hangs up here hangs up there, and the engine stops."""
    upstream = await ENGINE.session().request(
        request.method, f"{ENGINE.address}/v1/{request.path_params['rest']}", data=await request.body(),
        headers={name: value for name, value in request.headers.items() if name not in HOP},
    )  # fmt: skip
    headers = {name: value for name, value in upstream.headers.items() if name.lower() not in HOP}

    async def pieces() -> AsyncIterator[bytes]:
        try:
            async for piece in upstream.content.iter_any():
                yield piece
        finally:
            upstream.close()

    return StreamingResponse(pieces(), upstream.status, headers)


PROTOCOL = Starlette(routes=[Route("/{rest:path}", hand_on, methods=["GET", "POST"])])


@bentoml.service(workers=1, traffic={"timeout": LONGEST_REQUEST})
@bentoml.asgi_app(PROTOCOL, path="/v1")
class Model:
    """One worker, so that the weights are in memory once."""

    def __init__(self) -> None:
        ENGINE.start()

    async def __is_alive__(self) -> bool:
        return await ENGINE.answers()

    async def __is_ready__(self) -> bool:
        return await ENGINE.answers()

    async def __metrics__(self, own: str) -> str:
        async with ENGINE.session().get(f"{ENGINE.address}/metrics") as reply:
            return f"{own.rstrip()}\n{await reply.text()}"

    @bentoml.on_shutdown
    async def close(self) -> None:
        if ENGINE.http is not None:
            await ENGINE.http.close()
