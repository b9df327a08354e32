"""One file an engine: from a service and the path of its model to the container that runs it."""

from __future__ import annotations

from collections.abc import Mapping

from llmops.serving.engines import bentoml, llamacpp, openllm, sglang, vllm
from llmops.serving.engines.container import Engine

ENGINES: Mapping[str, Engine] = {
    "BentoML": bentoml.ENGINE, "LlamaCpp": llamacpp.ENGINE, "OpenLLM": openllm.ENGINE, "SGLang": sglang.ENGINE,
    "vLLM": vllm.ENGINE,
}  # fmt: skip
"""By spec.engine.type. What is missing here is refused with a condition, never ignored."""

__all__ = ["ENGINES", "Engine"]
