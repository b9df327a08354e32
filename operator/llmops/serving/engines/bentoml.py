"""BentoML 1.4: whatever a bento's image serves at /v1 in OpenAI's shapes.

A containerized bento takes options of `bentoml serve` as its arguments; --arg reaches the service's own
bentoml.use_arguments(), which need not read them: model (a path), name, task, context_length. Told to stop it finishes
what it answers, for as long as --timeout-graceful-shutdown says (measured: 300 queued streams all ended). Where the
bento starts its engine as a command of its own, /livez goes on saying 200 when that is dead: write livenessProbe into
spec.podTemplate then. images/bentoml is a bento of ours that hands GGUF files to llama.cpp.
"""

from __future__ import annotations

from llmops.api.llmservice import LLMService
from llmops.serving.engines.container import Adapters, Engine
from llmops.serving.sizing import Sized

PORT = 3000
DRAIN = 45
METRICS = {"Concurrency": "bentoml_service_request_in_progress"}


def args(service: LLMService, model: str, sized: Sized, _: Adapters) -> list[str]:
    spec = service.spec
    assert spec.engine is not None
    context = [f"--arg=context_length={spec.engine.context_length}"] if spec.engine.context_length else []
    return [
        f"--port={PORT}",
        f"--timeout-graceful-shutdown={DRAIN}",
        f"--arg=model={model}",
        f"--arg=name={service.metadata.namespace}/{service.metadata.name}",
        f"--arg=task={spec.task}",
        *context,
    ]


ENGINE = Engine(
    port=PORT,
    args=args,
    health="/livez",
    ready="/readyz",
    requests={"cpu": "500m", "memory": "512Mi"},
    startup_seconds=1800,
    drain_seconds=DRAIN,
    pre_stop_seconds=15,
    setting="image_bentoml",
    wants_folder=None,
    env={"HOME": "/tmp", "BENTOML_HOME": "/tmp/bentoml", "BENTOML_DO_NOT_TRACK": "True"},
    metrics=METRICS,
)
