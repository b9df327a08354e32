"""vLLM 0.33: accelerators. Its own shutdown waits for running requests if it is told how long (--shutdown-timeout).

enableServiceLinks must be off (children.py): a Service named vllm would set VLLM_PORT, which the engine reads as its
own. The user 65532 has no name in the image, and PyTorch's compiler asks for one, so it is given.
"""

from __future__ import annotations

import json

from llmops.api.llmservice import LLMService
from llmops.serving.engines.container import Adapters, Engine, Teaching
from llmops.serving.sizing import Sized

PORT = 8000
DRAIN = 45
RANK = 64  # of adapters; higher ones by spec.engine.args
METRICS = {
    "QueueDepth": "vllm:num_requests_waiting",
    "Concurrency": "vllm:num_requests_running",
    "KVCache": "vllm:kv_cache_usage_perc",  # a fraction of 1; older versions call it gpu_cache_usage_perc
}
"""Gauges only: a rate, such as tokens per second, is not one number that a pod tells."""


def args(service: LLMService, model: str, sized: Sized, adapters: Adapters) -> list[str]:
    engine = service.spec.engine
    assert engine is not None
    length = engine.context_length or sized.limit
    context = [f"--max-model-len={length}"] if length else []
    pipeline = [f"--pipeline-parallel-size={sized.pipeline}"] if sized.pipeline > 1 else []
    quantization = [f"--quantization={engine.quantization}"] if engine.quantization else []
    pools = ["--runner=pooling"] if service.spec.task in ("Embed", "Rerank") else []
    own = f"{service.metadata.namespace}/{service.metadata.name}"
    return [
        model,  # the image's entrypoint is `vllm serve`
        f"--served-model-name={own}",
        f"--port={PORT}",
        f"--tensor-parallel-size={max(1, sized.tensor)}",
        *pipeline,
        f"--shutdown-timeout={DRAIN}",
        *context,
        *quantization,
        *pools,
        *_taught(own, adapters),
    ]


def _taught(own: str, adapters: Adapters) -> list[str]:
    """A name a module, as requests ask for it. The engine refuses a rank above --max-lora-rank as it starts."""
    if not adapters:
        return []
    modules = [json.dumps({"name": f"{own}:{name}", "path": path}) for name, path in adapters.items()]
    return ["--enable-lora", f"--max-loras={len(adapters)}", f"--max-lora-rank={RANK}", "--lora-modules", *modules]


def room(slots: int) -> list[str]:
    return ["--enable-lora", f"--max-loras={slots}", f"--max-lora-rank={RANK}"]


def joined(nodes: int) -> tuple[list[str], list[str]]:
    """Without Ray, which the image has not had since 0.18: the engine's processes find one another by themselves."""
    common = [
        "--distributed-executor-backend=mp",
        f"--nnodes={nodes}",
        "--node-rank=$(LWS_WORKER_INDEX)",
        "--master-addr=$(LWS_LEADER_ADDRESS)",
    ]
    return common, [*common, "--headless"]


ENGINE = Engine(
    port=PORT,
    args=args,
    health="/health",
    ready="/health",
    requests={"cpu": "2", "memory": "16Gi"},
    startup_seconds=1800,
    drain_seconds=DRAIN,
    pre_stop_seconds=15,
    setting="image_vllm",
    wants_folder=True,
    shared_memory="8Gi",
    env={"HOME": "/tmp", "HF_HOME": "/tmp/huggingface", "USER": "vllm", "VLLM_NO_USAGE_STATS": "1"},
    joined=joined,
    teaching=Teaching(
        args=room,
        load="/v1/load_lora_adapter",
        unload="/v1/unload_lora_adapter",
        called=lambda service, adapter: f"{service}:{adapter}",
        env={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"},
    ),
    metrics=METRICS,
)
