"""SGLang 0.5: accelerators. Told to stop it refuses what is new and ends by itself when the last request has ended.

Read from its package: the names of its arguments from srt/arg_groups/fields, /ready and /health from
srt/entrypoints/http_server.py, the gauges from srt/observability/metrics_collector.py, and the drain, which has no
limit of its own, from srt/managers/tokenizer_manager.py: it looks every 5 s whether it was told to stop, and again
whether it may. The image has no entrypoint that serves.
"""

from __future__ import annotations

from llmops.api.llmservice import LLMService
from llmops.serving.engines.container import Adapters, Engine, Teaching
from llmops.serving.sizing import Sized

PORT = 30000
DRAIN = 60
LOOKS = 10
RANK = 64  # of adapters; higher ones by spec.engine.args
MEETS = 20000  # where a group's processes find one another
POOLS = {
    "Embed": ("--is-embedding",),
    # cross-encoders read question and document at once: as its documentation starts them
    "Rerank": ("--is-embedding", "--disable-radix-cache", "--chunked-prefill-size=-1", "--attention-backend=triton"),
}
METRICS = {
    "QueueDepth": "sglang:num_queue_reqs",
    "Concurrency": "sglang:num_running_reqs",
    "KVCache": "sglang:token_usage",  # a fraction of 1
}


def args(service: LLMService, model: str, sized: Sized, adapters: Adapters) -> list[str]:
    engine = service.spec.engine
    assert engine is not None
    length = engine.context_length or sized.limit
    context = [f"--context-length={length}"] if length else []
    pipeline = [f"--pp-size={sized.pipeline}"] if sized.pipeline > 1 else []
    quantization = [f"--quantization={engine.quantization}"] if engine.quantization else []
    taught = [f"{name}={path}" for name, path in adapters.items()]
    pools = POOLS.get(service.spec.task, ())
    return [
        f"--model-path={model}",
        f"--served-model-name={service.metadata.namespace}/{service.metadata.name}",
        "--host=0.0.0.0",
        f"--port={PORT}",
        f"--tp-size={max(1, sized.tensor)}",
        *pipeline,
        "--enable-metrics",
        *context,
        *quantization,
        *pools,
        *(["--enable-lora", "--lora-paths", *taught] if taught else []),
    ]


def room(slots: int) -> list[str]:
    """Without adapters to look at, it must be told which weights they change; the model as it is takes a place too."""
    size = [f"--max-loras-per-batch={slots + 1}", f"--max-lora-rank={RANK}"]
    return ["--enable-lora", *size, "--lora-target-modules", "all"]


def joined(nodes: int) -> tuple[list[str], list[str]]:
    """A worker serves nobody by itself once its rank is above 0."""
    address = f"--dist-init-addr=$(LWS_LEADER_ADDRESS):{MEETS}"
    common = [f"--nnodes={nodes}", "--node-rank=$(LWS_WORKER_INDEX)", address]
    return common, common


ENGINE = Engine(
    port=PORT,
    command=("python3", "-m", "sglang.launch_server"),
    args=args,
    health="/health",
    ready="/ready",
    requests={"cpu": "2", "memory": "16Gi"},
    startup_seconds=1800,
    drain_seconds=DRAIN + LOOKS,
    pre_stop_seconds=15,
    setting="image_sglang",
    wants_folder=True,
    shared_memory="8Gi",
    env={"HOME": "/tmp", "HF_HOME": "/tmp/huggingface", "USER": "sglang"},
    joined=joined,
    teaching=Teaching(
        args=room, load="/load_lora_adapter", unload="/unload_lora_adapter", called=lambda _, adapter: adapter
    ),
    metrics=METRICS,
)
