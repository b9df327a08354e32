"""The command lines of engines that cannot run here, against the options that their packages define."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from tests.unit.serving.seen import see
from tests.unit.serving.test_groups import asks, engine_of, group

from llmops.api import Settings
from llmops.api.llmservice import Task
from llmops.serving.plan import plan
from llmops.serving.roll import WARMING

Object = dict[str, Any]
DATA = Path(__file__).parents[2] / "data"
GPU = {"memory": "80Gi", "product": "NVIDIA-H100-80GB-HBM3"}
PLAIN: Object = {"model": {"uri": "pvc://weights/llama"}, "accelerator": {**GPU, "count": 1}}
VARIANTS: dict[str, Object] = {
    "plain": {},
    "a context and a quantization": {"engine": {"contextLength": 8192, "quantization": "fp8"}},
    "embeddings": {"model": {**PLAIN["model"], "task": "Embed"}},
    "reranking": {"model": {**PLAIN["model"], "task": "Rerank"}},
    "adapters": {"model": {**PLAIN["model"], "adapters": [{"name": "tone", "uri": "pvc://weights/tone"}]}},
    "pipelined": {
        "accelerator": {**GPU, "count": 8},
        "model": {
            **PLAIN["model"],
            "dimensions": {
                "parameters": 7_615_616_512, "layers": 28, "kvHeads": 4, "headDim": 128, "heads": 28,
                "contextLength": 32_768,
            },
        },
    },
}  # fmt: skip
PIPELINE = {"vLLM": "--pipeline-parallel-size=2", "SGLang": "--pp-size=2"}


def known(engine: str) -> tuple[str, set[str]]:
    """(package and version, its options): tests/engine_options.py wrote them."""
    version, *options = (DATA / f"{engine.lower()}-options.txt").read_text().splitlines()
    return version.removeprefix("# "), set(options)


def options(args: list[str]) -> set[str]:
    return {one.partition("=")[0] for one in args if one.startswith("--")}


@pytest.mark.parametrize("engine", ["vLLM", "SGLang"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_option_that_is_planned_is_one_of_the_engines(engine: str, variant: str) -> None:
    more = VARIANTS[variant]
    spec = {**PLAIN, **more, "engine": {"type": engine, **more.get("engine", {})}}
    made = next(one for one in plan(see(spec)).children if one["kind"] == "Deployment")
    args = engine_of(made["spec"]["template"])["args"]
    assert options(args) <= known(engine)[1]
    assert (PIPELINE[engine] in args) == (variant == "pipelined")


@pytest.mark.parametrize("engine", ["vLLM", "SGLang"])
@pytest.mark.parametrize("template", ["leaderTemplate", "workerTemplate"])
def test_so_is_every_option_of_a_replica_over_several_nodes(engine: str, template: str) -> None:
    assert options(engine_of(group(asks(engine=engine))[template])["args"]) <= known(engine)[1]


@pytest.mark.parametrize(("engine", "image"), [("vLLM", Settings().image_vllm), ("SGLang", Settings().image_sglang)])
def test_the_options_are_those_of_the_default_image(engine: str, image: str) -> None:
    assert image.endswith(f":v{known(engine)[0].split()[1]}")


def test_every_task_has_a_request_that_warms_a_new_pod() -> None:
    assert set(WARMING) == set(get_args(Task))
