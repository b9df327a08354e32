"""OpenLLM 0.6: a bento of a model repository, which `openllm serve` starts in an environment of its own.

The image has the repository, the bento's environment and, in OPENLLM_BENTO, its tag (spec.engine.env names another):
started plainly OpenLLM clones repositories and installs packages before it serves. --env reaches the bento, which need
not read MODEL, NAME, TASK and CONTEXT_LENGTH; a bento that brings its own weights takes model.uri for where they are.
OpenLLM itself does not pass a signal on: images/openllm/serve does, and BentoML then finishes what it answers, for as
long as the pod has. Read from its package (local.py, venv.py, common.py) and run.
"""

from __future__ import annotations

from llmops.api.llmservice import LLMService
from llmops.serving.engines import bentoml
from llmops.serving.engines.container import Adapters, Engine
from llmops.serving.sizing import Sized


def args(service: LLMService, model: str, sized: Sized, _: Adapters) -> list[str]:
    spec = service.spec
    assert spec.engine is not None
    context = [f"--env=CONTEXT_LENGTH={spec.engine.context_length}"] if spec.engine.context_length else []
    return [
        f"--port={bentoml.PORT}",
        f"--env=MODEL={model}",
        f"--env=NAME={service.metadata.namespace}/{service.metadata.name}",
        f"--env=TASK={spec.task}",
        *context,
    ]


ENGINE = Engine(
    port=bentoml.PORT,
    args=args,
    health="/livez",
    ready="/readyz",
    requests={"cpu": "500m", "memory": "768Mi"},
    startup_seconds=1800,
    drain_seconds=60,
    pre_stop_seconds=15,
    setting="image_openllm",
    wants_folder=None,
    env={"HOME": "/tmp", "BENTOML_DO_NOT_TRACK": "True", "OPENLLM_DO_NOT_TRACK": "True"},
    metrics=bentoml.METRICS,
)
