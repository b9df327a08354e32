"""The floor: the same server and client libraries as the door's, passing bytes through and doing nothing else.

python -m bench.thin_proxy PORT ENGINE_PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn
import uvloop

from llmops.gateway.app import client_session


async def main(port: int, engine: int) -> None:
    """Until killed."""
    session, url = client_session(), f"http://127.0.0.1:{engine}/v1/chat/completions"

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        async with session.post(url, data=body) as reply:
            kind = (b"content-type", reply.headers["content-type"].encode())
            await send({"type": "http.response.start", "status": reply.status, "headers": [kind]})
            while data := await reply.content.readany():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(
        proxy,
        host="127.0.0.1",
        port=port,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
