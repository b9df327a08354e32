"""Vector databases, one file an engine. An engine is an address and the children that make it answer there.

This version runs Milvus in mode Lite. Another mode or database joins ENGINES with its own file; until then the index
says so in a condition, and nothing of it is begun.
"""

from collections.abc import Callable
from dataclasses import dataclass

from llmops.api import Settings, VectorIndex
from llmops.kube.resources import Object
from llmops.retrieval.engines import lite


@dataclass(frozen=True)
class Engine:
    """`children` in the order they are applied; `deployment` is the one that must be available."""

    children: Callable[[VectorIndex, Settings], list[Object]]
    address: Callable[[VectorIndex, Settings], str]
    deployment: Callable[[VectorIndex], str]


ENGINES = {("Milvus", "Lite"): Engine(lite.children, lite.address, lite.name)}
