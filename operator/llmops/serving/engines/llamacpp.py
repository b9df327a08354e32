"""llama.cpp (images/llamacpp/serve.py): GGUF files, on CPUs. The server itself drains when it is told to stop."""

from __future__ import annotations

import math

from llmops.api.llmservice import LLMService
from llmops.api.quantities import quantity
from llmops.serving.engines.container import Adapters, Engine
from llmops.serving.sizing import Sized

PORT = 8080
CONTEXT_LENGTH = {"Embed": 512, "Rerank": 512}  # what sentence encoders are made for
PARALLEL = 4
REQUESTS = {"cpu": "500m", "memory": "512Mi"}
METRICS = {"QueueDepth": "llamacpp:requests_deferred", "Concurrency": "llamacpp:requests_processing"}


def args(service: LLMService, model: str, sized: Sized, adapters: Adapters) -> list[str]:
    spec = service.spec
    assert spec.engine is not None
    context = spec.engine.context_length or CONTEXT_LENGTH.get(spec.task, 2048)
    does = {"Embed": ["--embeddings"], "Rerank": ["--reranking"]}.get(spec.task, [])
    taught = [f"--adapter={name}={path}" for name, path in adapters.items()]
    return [
        f"--model={model}",
        f"--alias={service.metadata.namespace}/{service.metadata.name}",
        f"--port={PORT}",
        f"--context-length={context}",
        f"--parallel={PARALLEL}",
        f"--threads={_threads(service)}",
        f"--drain-seconds={ENGINE.drain_seconds}",
        *does,
        *taught,
    ]


def _threads(service: LLMService) -> int:
    """As many as it may use: more would only wait for one another."""
    given = service.spec.resources
    cpu = given.limits.get("cpu") or given.requests.get("cpu") or REQUESTS["cpu"]
    return max(1, math.ceil(quantity(cpu)))


ENGINE = Engine(
    port=PORT,
    args=args,
    health="/health",
    ready="/health",
    requests=REQUESTS,
    startup_seconds=300,
    drain_seconds=60,
    pre_stop_seconds=0,
    setting="image_llamacpp",
    metrics=METRICS,
)
