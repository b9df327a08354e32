"""Pod templates of some services, kept as YAML in golden/; `python -m tests.unit.serving.golden` writes them anew."""

from __future__ import annotations

from pathlib import Path

import yaml
from tests.unit.serving.seen import Object, see

from llmops.serving.plan import plan

KEPT = Path(__file__).parent / "golden"
GPU = {"resource": "nvidia.com/gpu", "product": "NVIDIA-H100-80GB-HBM3", "memory": "80Gi", "count": 2}
HTTPS = "https://weights.example/v1/model.gguf"
CACHED = {"uri": HTTPS, "revision": "sha256:" + "0" * 64, "cache": {"size": "4Gi"}}
SPECS: dict[str, Object] = {
    "generate-in-image": {},
    "embed-on-volume": {"model": {"uri": "pvc://weights/minilm.gguf", "task": "Embed"}},
    "cached-download": {"model": CACHED},
    "download-per-replica": {"model": {"uri": HTTPS}},
    "vllm-on-gpus": {
        "model": {"uri": "pvc://weights/llama"}, "accelerator": GPU,
        "engine": {"type": "vLLM", "contextLength": 8192, "quantization": "fp8", "args": ["--enable-prefix-caching"]},
    },
}  # fmt: skip

SPECS["rerank-on-volume"] = {"model": {"uri": "pvc://weights/reranker.gguf", "task": "Rerank"}}
for _name, _engine in (("vllm", "vLLM"), ("sglang", "SGLang")):
    SPECS[f"{_name}-reranks"] = {
        "model": {"uri": "pvc://weights/reranker", "task": "Rerank"}, "accelerator": {**GPU, "count": 1},
        "engine": {"type": _engine},
    }  # fmt: skip
SPECS["sglang-on-gpus"] = {**SPECS["vllm-on-gpus"], "engine": {"type": "SGLang", "contextLength": 8192}}
SPECS["bento"] = {"model": {"uri": "file:///models/m.gguf"}, "engine": {"type": "BentoML", "contextLength": 2048}}
SPECS["openllm"] = {"model": {"uri": "file:///models/m.gguf"}, "engine": {"type": "OpenLLM", "contextLength": 2048}}
SPECS["vllm-with-adapters"] = {
    **SPECS["vllm-on-gpus"],
    "rollout": {},
    "model": {"uri": "pvc://weights/llama", "adapters": [{"name": "tone", "uri": "pvc://weights/tone"}]},
}
SPECS["vllm-from-the-hub"] = {
    "model": {"uri": "hf://org/name", "revision": "v1"}, "accelerator": GPU, "engine": {"type": "vLLM"},
}  # fmt: skip

DOWNLOADED: Object = {"kind": "Job", "metadata": {"name": "support-llm-fetch-x"}, "status": {"succeeded": 1}}


def built(name: str) -> Object:
    """As this version of the operator makes it."""
    children = plan(see(SPECS[name], download=DOWNLOADED)).children
    template: Object = next(one for one in children if one["kind"] == "Deployment")["spec"]["template"]
    return template


def kept(name: str) -> Object:
    """As it was when somebody last said that it may change."""
    found: Object = yaml.safe_load((KEPT / f"{name}.yaml").read_text())
    return found


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for each in SPECS:
        (KEPT / f"{each}.yaml").write_text(yaml.safe_dump(built(each), sort_keys=False))
