"""The query server's process: until SIGTERM, and then as drain.py says."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time

import aiohttp

from llmops.api.settings import Settings
from llmops.retrieval.server.app import App
from llmops.retrieval.server.drain import Draining
from llmops.retrieval.server.live import Live
from llmops.retrieval.server.permissions import Permissions
from llmops.retrieval.server.poor import Poor
from llmops.retrieval.stores import open_reader, where


def main(argv: list[str]) -> int:
    """Serve one index."""
    parser = argparse.ArgumentParser(prog="llmops retrieve", description="The query server of one VectorIndex.")
    parser.add_argument("--index", required=True, help="namespace/name, for answers and errors")
    parser.add_argument("--engine", required=True, help="the engine's address, such as http://faq-index-engine:19530")
    parser.add_argument("--engine-type", default="Milvus", help="Milvus, PgVector or Qdrant")
    parser.add_argument("--database", default="", help="the database in it, where not its default one")
    parser.add_argument("--alias", required=True, help="the alias that points to the served generation")
    parser.add_argument("--poor-below", type=float, help="a question whose best score is less found nothing good")
    parser.add_argument("--permissions", metavar="FIELD", help="the metadata field with who may see a document")
    parser.add_argument("--permissions-missing", choices=("Deny", "Allow"), default="Deny", help="without the field")
    parser.add_argument("--drain-seconds", type=float, default=0.0, help="go on answering for so long after SIGTERM")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    logging.basicConfig(
        level=Settings.from_env().log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints a traceback for every error that we handle
    asyncio.run(_serve(parser.parse_args(argv)))
    return 0


async def _serve(given: argparse.Namespace) -> None:
    timeout = aiohttp.ClientTimeout(total=30, connect=3)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        reader = open_reader(where(given.engine_type, given.engine, given.database))
        live = Live(reader, session, given.alias)
        rule = Permissions(given.permissions, given.permissions_missing == "Allow") if given.permissions else None
        app = App(given.index, reader, live, Poor(time.time, given.poor_below), rule)
        server = Draining(app, given.host, given.port, given.drain_seconds)
        following = asyncio.create_task(live.follow())
        following.add_done_callback(lambda _: setattr(server, "should_exit", True))
        try:
            await server.serve()
            if following.done():
                following.result()  # it never ends by itself: better a restart than answers from an old generation
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await reader.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
