"""What Milvus's proxy refuses by gRPC's own codes, which its client hands on as they are: over the real protocol."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc

from llmops.retrieval.server.live import Live
from llmops.retrieval.stores import open_reader, open_store
from llmops.retrieval.stores.base import Asked, Away, NotAllowed, StoreError, Where


class Proxy(milvus_pb2_grpc.MilvusServiceServicer):  # type: ignore[misc]
    """It lets anybody in, and refuses whatever they ask."""

    code = grpc.StatusCode.PERMISSION_DENIED

    def Connect(self, *_: Any) -> Any:
        info = common_pb2.ServerInfo(build_tags="2.5.1")
        return milvus_pb2.ConnectResponse(status=common_pb2.Status(), server_info=info, identifier=1)

    def GetVersion(self, *_: Any) -> Any:
        return milvus_pb2.GetVersionResponse(status=common_pb2.Status(), version="2.5.1")

    def DescribeAlias(self, _: Any, context: Any) -> Any:
        context.abort(self.code, "DescribeAlias: not to reader")

    def ListAliases(self, _: Any, context: Any) -> Any:
        context.abort(self.code, "ListAliases: not to reader")

    def Search(self, _: Any, context: Any) -> Any:
        context.abort(self.code, "Search: not to reader")


@pytest.fixture
def proxy() -> Iterator[tuple[Proxy, Where]]:
    server, one = grpc.server(futures.ThreadPoolExecutor(4)), Proxy()
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(one, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield one, Where("Milvus", f"http://127.0.0.1:{port}", username="reader", password="x")
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, NotAllowed),
        (grpc.StatusCode.UNAUTHENTICATED, NotAllowed),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Away),
    ],
)
async def test_a_refusal_is_told_in_our_words_and_ends_no_query_server(
    proxy: tuple[Proxy, Where], code: grpc.StatusCode, kind: type[StoreError]
) -> None:
    one, where = proxy
    one.code = code
    reader = open_reader(where)
    live = Live(reader, None, "shop_faq")  # type: ignore[arg-type]
    await live.look()
    assert "DescribeAlias: not to reader" in str(live.problem)
    with pytest.raises(kind, match="Search: not to reader"):
        await reader.search("faq__g1_x", Asked([1.0], 3))
    await reader.close()


def test_a_job_that_may_not_ask_is_told_so(proxy: tuple[Proxy, Where]) -> None:
    store = open_store(proxy[1], "shop_faq", "faq__g", 5)
    with pytest.raises(NotAllowed, match="does not take the username, password or token"):
        store.active()
    store.close()
