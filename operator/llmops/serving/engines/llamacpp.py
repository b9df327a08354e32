"""llama.cpp (images/llamacpp/serve.py): GGUF files, on CPUs. The server itself drains when it is told to stop."""

from __future__ import annotations

from llmops.api.llmservice import LLMService
from llmops.serving.engines.container import Engine

PORT = 8080
CONTEXT_LENGTH = {"Embed": 512}  # what sentence encoders are made for
PARALLEL = 4


def args(service: LLMService, model: str, accelerators: int) -> list[str]:
    spec = service.spec
    assert spec.engine is not None
    context = spec.engine.context_length or CONTEXT_LENGTH.get(spec.task, 2048)
    parallel = min(spec.limits.max_concurrency or PARALLEL, PARALLEL)
    embeds = ["--embeddings"] if spec.task == "Embed" else []
    return [
        f"--model={model}",
        f"--alias={service.metadata.namespace}/{service.metadata.name}",
        f"--port={PORT}",
        f"--context-length={context}",
        f"--parallel={parallel}",
        f"--drain-seconds={ENGINE.drain_seconds}",
        *embeds,
        *spec.engine.args,
    ]


ENGINE = Engine(
    port=PORT,
    args=args,
    health="/health",
    ready="/health",
    requests={"cpu": "500m", "memory": "512Mi"},
    startup_seconds=300,
    drain_seconds=60,
    pre_stop_seconds=0,
    setting="image_llamacpp",
)
