"""What is known of models: the catalogue computed anew, headers read from real files, published figures."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from tests.unit.serving.seen import see

from llmops.api.llmservice import ModelSource
from llmops.serving import headers
from llmops.serving.catalogue import CATALOGUE
from llmops.serving.devices import GIB, Device
from llmops.serving.known import CATALOGUED, FILES, SPEC, UNLIKE, Known, known
from llmops.serving.sizing import BYTES, size

MODELS = Path(__file__).parents[2] / "models"
TINY = MODELS / "support-good.gguf"


def parameters(
    row: tuple[int, ...], hidden: int, inner: int, vocabulary: int, *,
    tied: bool = False, bias: bool = False, normed: bool = False, experts: int = 0,
) -> tuple[int, int]:  # fmt: skip
    """(weights, those of the embeddings) of a decoder of the Llama family, from its config.json's numbers."""
    _, layers, kv, head, _, heads, _ = row
    attention = hidden * head * (2 * heads + 2 * kv) + (head * (heads + 2 * kv) if bias else 0)
    inside = 3 * hidden * inner * max(1, experts) + hidden * experts
    norms = 2 * hidden + (2 * head if normed else 0)
    words = vocabulary * hidden * (1 if tied else 2)
    return words + layers * (attention + inside + norms) + hidden, words


@pytest.mark.parametrize(("name", "sizes"), [
    ("meta-llama/llama-3.1-8b", {"hidden": 4096, "inner": 14_336, "vocabulary": 128_256}),
    ("meta-llama/llama-3.1-70b", {"hidden": 8192, "inner": 28_672, "vocabulary": 128_256}),
    ("meta-llama/llama-3.1-405b", {"hidden": 16_384, "inner": 53_248, "vocabulary": 128_256}),
    ("meta-llama/llama-3.2-1b", {"hidden": 2048, "inner": 8192, "vocabulary": 128_256, "tied": True}),
    ("meta-llama/llama-3.2-3b", {"hidden": 3072, "inner": 8192, "vocabulary": 128_256, "tied": True}),
    ("mistralai/mistral-7b-v0.3", {"hidden": 4096, "inner": 14_336, "vocabulary": 32_768}),
    ("mistralai/mixtral-8x7b-v0.1", {"hidden": 4096, "inner": 14_336, "vocabulary": 32_000, "experts": 8}),
    ("qwen/qwen2.5-0.5b", {"hidden": 896, "inner": 4864, "vocabulary": 151_936, "tied": True, "bias": True}),
    ("qwen/qwen2.5-1.5b", {"hidden": 1536, "inner": 8960, "vocabulary": 151_936, "tied": True, "bias": True}),
    ("qwen/qwen2.5-3b", {"hidden": 2048, "inner": 11_008, "vocabulary": 151_936, "tied": True, "bias": True}),
    ("qwen/qwen2.5-7b", {"hidden": 3584, "inner": 18_944, "vocabulary": 152_064, "bias": True}),
    ("qwen/qwen2.5-14b", {"hidden": 5120, "inner": 13_824, "vocabulary": 152_064, "bias": True}),
    ("qwen/qwen2.5-32b", {"hidden": 5120, "inner": 27_648, "vocabulary": 152_064, "bias": True}),
    ("qwen/qwen2.5-72b", {"hidden": 8192, "inner": 29_568, "vocabulary": 152_064, "bias": True}),
    ("qwen/qwen3-0.6b", {"hidden": 1024, "inner": 3072, "vocabulary": 151_936, "tied": True, "normed": True}),
    ("qwen/qwen3-4b", {"hidden": 2560, "inner": 9728, "vocabulary": 151_936, "tied": True, "normed": True}),
    ("qwen/qwen3-8b", {"hidden": 4096, "inner": 12_288, "vocabulary": 151_936, "normed": True}),
    ("qwen/qwen3-14b", {"hidden": 5120, "inner": 17_408, "vocabulary": 151_936, "normed": True}),
    ("qwen/qwen3-32b", {"hidden": 5120, "inner": 25_600, "vocabulary": 151_936, "normed": True}),
    ("qwen/qwen3-30b-a3b", {"hidden": 2048, "inner": 768, "vocabulary": 151_936, "normed": True, "experts": 128}),
    ("qwen/qwen3-235b-a22b", {"hidden": 4096, "inner": 1536, "vocabulary": 151_936, "normed": True, "experts": 128}),
    ("microsoft/phi-4", {"hidden": 5120, "inner": 17_920, "vocabulary": 100_352}),
])  # fmt: skip
def test_the_catalogues_weights_are_those_that_the_architecture_has(name: str, sizes: dict[str, Any]) -> None:
    assert parameters(CATALOGUE[name], **sizes) == (CATALOGUE[name][0], CATALOGUE[name][6])


def plain(name: str) -> Known:
    return Known(*CATALOGUE[name])


def weights(name: str, quantization: str = "", devices: int = 1) -> float:
    """GiB a device."""
    found = size(see({
        "model": {"uri": f"hf://{name}"}, "accelerator": {"count": devices},
        "engine": {"type": "vLLM", "quantization": quantization or None},
    }).service.spec, plain(name), [Device(None, 80 * GIB)])  # fmt: skip
    assert found.weights
    return found.weights / GIB / devices


def tokens(name: str, gib: float, tensor: int = 1) -> float:
    """Held by so much memory for keys and values on each of the devices."""
    one = plain(name)
    return gib * GIB / (2 * one.layers * max(1, one.kv_heads // tensor) * one.head_dim * 2)


# what engines printed as they started, in threads of their projects
PUBLISHED = [
    ("vllm#10517, Llama-3.1-8B, weights in GiB", weights("meta-llama/llama-3.1-8b"), 14.9888),
    ("the same on an RTX 3090, tokens in 3.81 GiB", tokens("meta-llama/llama-3.1-8b", 3.81), 1952 * 16),
    ("the same, tokens in 2.89 GiB", tokens("meta-llama/llama-3.1-8b", 2.89), 23_648),
    ("vllm#12569, Llama-3.1-70B w8a8, GiB", weights("meta-llama/llama-3.1-70b", "w8a8_int8"), 67.7229),
    ("vllm#13061, Qwen2.5-14B on two, GiB a device", weights("qwen/qwen2.5-14b", devices=2), 13.9476),
    ("vllm#21348, Qwen3-235B FP8 on four H100, 8.11 GiB each", tokens("qwen/qwen3-235b-a22b", 8.11, 4), 178_880),
    ("the same with SGLang, 16.46 GiB each", tokens("qwen/qwen3-235b-a22b", 16.46, 4), 367_404),
    ("kyuz0/amd-strix-halo-vllm-toolboxes#5, Qwen3-4B, GiB", weights("qwen/qwen3-4b"), 7.6785),
]


@pytest.mark.parametrize(("what", "ours", "theirs"), PUBLISHED)
def test_the_sums_parts_agree_with_what_engines_printed(what: str, ours: float, theirs: float) -> None:
    assert ours == pytest.approx(theirs, rel=0.03), what


LLAMA_2_7B = Known(6_738_415_616, 32, 32, 128, 4096, 32, 262_144_000)
LLAMA_3_8B = Known(8_030_261_248, 32, 8, 128, 8192, 32, 1_050_673_152)
MISTRAL_7B = Known(7_241_732_096, 32, 8, 128, 32_768, 32, 262_144_000)
DEEPSEEK_R1 = Known(671_026_419_200, 61, 1, 288, 163_840, 128, 1_853_358_080, experts=256)
DEEPSEEK_V2_LITE = Known(15_706_484_224, 27, 1, 288, 163_840, 16, 419_430_400, experts=64)
GPT_OSS_20B = Known(20_914_757_184, 24, 8, 64, 131_072, 64, stored=int(13.72 * GIB), quantized=True, experts=32)
"""Of another size than the catalogue's, or not in it."""


def whole(
    model: Known | str, gib: float, share: float, *, batch: int = 8192, devices: int = 1, quantization: str = "",
    engine: str = "vLLM", nodes: int = 1,
) -> int:  # fmt: skip
    """Tokens by the whole sum, on devices of so much memory."""
    if isinstance(model, str):
        found = known(ModelSource(uri=f"hf://{model}"), "", ())
        assert found
        model = found
    told = [f"--gpu-memory-utilization={share}", f"--max-num-batched-tokens={batch}"]
    args = told if engine == "vLLM" else [f"--mem-fraction-static={share}"]
    sized = size(see({
        "model": {"uri": "hf://acme/any"}, "accelerator": {"count": devices},
        "engine": {"type": engine, "quantization": quantization or None, "args": args},
    }).service.spec, model, [Device(None, gib * GIB, devices // nodes, nodes)], groups=True)  # fmt: skip
    assert sized.kv_cache_tokens
    return sized.kv_cache_tokens


A6000, H100, SGLANG = 47.54, 79.2, "SGLang"
LATER = [
    ("Qwen2.5-0.5B, RTX PRO 6000, vLLM 0.26 (vllm#50159)", whole("qwen/qwen2.5-0.5b", 94.97, 0.85), 6_891_296),
    ("Qwen2.5-0.5B, A100 40GB (ovg-project/kvcached#448, 34.70 GiB)",
     whole("qwen/qwen2.5-0.5b", 39.49, 0.92, batch=2048), int(34.7 * GIB / 12_288)),
    ("Llama-2-7B, H100 (kubernetes-sigs/gateway-api-inference-extension#550)",
     whole(LLAMA_2_7B, 79.19, 0.9), 7191 * 16),
    ("Llama-3.1-70B w8a8, taken for an H100 (vllm#12569)",
     whole("meta-llama/llama-3.1-70b", H100, 0.98, quantization="int8"), 1381 * 16),
    ("DeepSeek-V2-Lite, four L4 as 2 x 2 (vllm#20665)",
     whole(DEEPSEEK_V2_LITE, 22.03, 0.9, batch=2048, devices=4, nodes=2), 807_792),
    ("gpt-oss-20b, A100 80GB, vLLM 0.19 (myoceane.fr, ai-vllm-a100-gemma-4, 36.56 GiB)",
     whole(GPT_OSS_20B, 79.25, 0.65, batch=2048), int(36.56 * GIB / 49_152)),
]  # fmt: skip
"""Found when the sum was made, and not to make it by."""
WHOLE = [
    ("Llama-3.1-8B, RTX 3090, 20,000 at a time (vllm#10517)",
     whole("meta-llama/llama-3.1-8b", 23.58, 0.9, batch=20_000), 31_232),
    ("the same, 29,000 at a time", whole("meta-llama/llama-3.1-8b", 23.58, 0.9, batch=29_000), 23_648),
    ("Llama-3-8B, H100 (vllm#10511, 53.29 GiB)", whole(LLAMA_3_8B, 79.22, 0.9), 436_551),
    ("the same on two, 58.97 GiB each", whole(LLAMA_3_8B, 79.22, 0.9, devices=2), 966_164),
    ("Llama-3-8B, A6000 (vllm#4454)", whole(LLAMA_3_8B, A6000, 0.9), 13_248 * 16),
    ("Mistral-7B, A6000 (vllm#4454)", whole(MISTRAL_7B, A6000, 0.9, batch=32_768), 12_735 * 16),
    ("Zephyr-7B AWQ, A6000 (vllm#4454)",
     whole(MISTRAL_7B, A6000, 0.9, batch=32_768, quantization="awq"), 17_641 * 16),
    ("Llama-2-7B GPTQ, A6000 (vllm#4454)",
     whole(LLAMA_2_7B, A6000, 0.9, batch=4096, quantization="gptq"), 4877 * 16),
    ("Llama-2-7B, A100 80GB (vllm#2031)", whole(LLAMA_2_7B, 79.15, 0.9, batch=4096), 7351 * 16),
    ("Qwen2.5-32B, two L40S (vllm#15815)",
     whole("qwen/qwen2.5-32b", 44.42, 0.9, batch=10_000, devices=2), 3947 * 16),
    ("Qwen2.5-14B, two RTX 4090 (vllm#13061)",
     whole("qwen/qwen2.5-14b", 23.55, 0.98, batch=512, devices=2), 81_536),
    ("Qwen3-0.6B, H100 (generative-computing/mellea#416)", whole("qwen/qwen3-0.6b", 79.19, 0.8), 36_184 * 16),
    ("Qwen3-4B AWQ, 48 GB (vllm#57047)",
     whole("qwen/qwen3-4b", 47.37, 0.85, batch=2048, quantization="awq"), 268_560),
    ("Qwen3-235B-A22B FP8, four H100 (vllm#21348)",
     whole("qwen/qwen3-235b-a22b", H100, 0.9, devices=4, quantization="fp8"), 178_880),
    ("the same with SGLang", whole(
        "qwen/qwen3-235b-a22b", H100, 0.93, devices=4, quantization="fp8", engine=SGLANG), 367_404),
    ("Llama-3.1-8B, 80 GB, SGLang (docs.sglang.ai, Sending Requests)",
     whole("meta-llama/llama-3.1-8b", H100, 0.88, engine=SGLANG), 444_500),
    ("Mistral-7B, 24 GB, SGLang (sglang#2468)", whole(MISTRAL_7B, 23.55, 0.88, engine=SGLANG), 56_524),
    ("DeepSeek-R1 FP8, eight H200, SGLang (ai-dynamo/aisimulate#263)",
     whole(DEEPSEEK_R1, 140.4, 0.82, devices=8, quantization="fp8", engine=SGLANG), 509_000),
    *LATER,
]  # fmt: skip
"""(what, by the whole sum, as the engine printed or, of vllm#10511, what its GiB hold)."""


@pytest.mark.parametrize(("what", "ours", "theirs"), WHOLE)
def test_the_whole_sum_never_promises_much_more_than_engines_found(what: str, ours: int, theirs: int) -> None:
    assert 0.75 <= ours / theirs <= 1.05, what


@pytest.mark.parametrize("rows", [WHOLE, LATER])
def test_the_whole_sum_is_within_a_tenth_nearly_everywhere(rows: list[tuple[str, int, int]]) -> None:
    apart = [what for what, ours, theirs in rows if abs(ours / theirs - 1) > 0.1]
    assert len(apart) <= len(rows) / 6, apart


def test_the_documentations_table_is_what_the_sum_computes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "sizing.md").read_text()
    for what, ours, theirs in WHOLE:
        assert f"| {what} | {ours:,} | {theirs:,} | {ours / theirs - 1:+.1%} |" in page


def test_four_bits_leave_the_embeddings_as_they_are() -> None:
    one = weights("meta-llama/llama-3.1-8b", "awq") * GIB
    assert one == pytest.approx(BYTES["awq"] * (8_030_261_248 - 1_050_673_152) + 2 * 1_050_673_152)
    assert 5.6e9 < one < 5.8e9  # the four-bit repository of this model is 5.73 GB


def test_the_spec_speaks_before_the_files_and_those_before_the_catalogue() -> None:
    uri = "hf://meta-llama/Llama-3.1-8B-Instruct"
    given = {"parameters": 7, "layers": 1, "kvHeads": 1, "headDim": 1, "contextLength": 9}
    told = json.dumps({**plain("qwen/qwen2.5-7b").wire(), "by": FILES})
    found = known(ModelSource.model_validate({"uri": uri, "dimensions": given}), told, ())
    assert found
    assert (found.by, found.parameters) == (SPEC, 7)
    found = known(ModelSource(uri=uri), told, ())
    assert found
    assert (found.by, found.layers) == (FILES, 28)
    found = known(ModelSource(uri=uri), "no JSON", ())
    assert found
    assert (found.by, found.layers) == (CATALOGUED, 32)
    assert known(ModelSource(uri="hf://acme/secret"), "", ()) is None


def test_what_files_said_is_remembered_by_a_revision_of_the_same_files() -> None:
    model = ModelSource(uri="hf://acme/secret", revision="abc")
    told = {**plain("qwen/qwen2.5-7b").wire(), "by": FILES}
    content = {"model": {"uri": model.uri, "revision": "abc"}, "resolved": {"sizing": {"model": told}}}
    found = known(model, "", [{"spec": {"content": content}}])
    assert found
    assert (found.by, found.layers) == (FILES, 28)
    other = ModelSource(uri="hf://acme/secret", revision="def")
    assert known(other, "", [{"spec": {"content": content}}]) is None


@pytest.mark.parametrize("told", [
    {}, {"parameters": "many"}, {"parameters": 0, "layers": 1, "kvHeads": 1, "headDim": 1, "contextLength": 1}, [],
])  # fmt: skip
def test_what_a_container_says_is_not_trusted(told: Any) -> None:
    assert known(ModelSource(uri="hf://acme/secret"), json.dumps(told), ()) is None


def test_a_gguf_file_says_what_it_is() -> None:
    assert headers.describe(TINY) == {
        "parameters": 918_656, "layers": 4, "kv_heads": 2, "head_dim": 32, "heads": 4, "context_length": 512,
        "embeddings": 131_072, "stored": TINY.stat().st_size, "quantized": False,
    }  # fmt: skip


def folder(path: Path, config: dict[str, Any], tensors: dict[str, Any]) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    head = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    return path


CONFIG = {
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64,
    "max_position_embeddings": 128,
}  # fmt: skip
TENSORS = {
    "model.embed_tokens.weight": {"dtype": "BF16", "shape": [100, 64], "data_offsets": [0, 12_800]},
    "model.layers.0.mlp.weight": {"dtype": "F8_E4M3", "shape": [64, 64], "data_offsets": [12_800, 16_896]},
}


def test_a_folder_says_what_it_is_by_its_config_and_its_safetensors(tmp_path: Path) -> None:
    found = headers.describe(folder(tmp_path / "m", CONFIG, TENSORS))
    assert found == {
        "parameters": 10_496, "layers": 2, "kv_heads": 2, "head_dim": 16, "heads": 4, "context_length": 128,
        "embeddings": 6400, "stored": 16_896, "quantized": True,
    }  # fmt: skip
    sees = folder(tmp_path / "sees", {"text_config": CONFIG, "hidden_size": 1}, TENSORS)
    assert headers.describe(sees) == found
    compressed = folder(tmp_path / "mla", {**CONFIG, "kv_lora_rank": 512, "qk_rope_head_dim": 64}, TENSORS)
    assert {"kv_heads": 1, "head_dim": 288}.items() <= headers.describe(compressed).items()


def test_what_files_say_is_understood_by_who_sizes(tmp_path: Path) -> None:
    told = json.dumps(headers.describe(folder(tmp_path / "m", CONFIG, TENSORS)))
    found = known(ModelSource(uri="hf://acme/secret"), told, ())
    assert found
    assert (found.parameters, found.stored, found.quantized, found.by) == (10_496, 16_896, True, FILES)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 60, b"GGUF\x03\0\0\0" + b"\x01" + b"\0" * 40])
def test_odd_files_say_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    assert headers.describe(tmp_path / "m.gguf") == {}
    (tmp_path / "config.json").write_text("{}")
    assert headers.describe(tmp_path) == {}
    assert headers.describe(tmp_path / "absent") == {}


def test_experts_are_read_from_the_config(tmp_path: Path) -> None:
    for number, key in enumerate(headers.EXPERTS):
        told = headers.describe(folder(tmp_path / str(number), {**CONFIG, key: 8}, TENSORS))
        found = known(ModelSource(uri="hf://acme/secret"), json.dumps(told), ())
        assert found
        assert found.experts == 8


@pytest.mark.parametrize(("config", "unlike"), [
    ({}, None),
    ({"layer_types": ["full_attention", "full_attention"]}, None),
    ({"sliding_window": 64}, "windows"),  # Mistral 7B v0.1
    ({"sliding_window": 64, "use_sliding_window": False}, None),  # Qwen2.5
    ({"sliding_window": 128}, None),  # no narrower than the context
    ({"sliding_window": None}, None),
    ({"layer_types": ["sliding_attention", "full_attention"]}, "windows"),  # Gemma 3, gpt-oss
    ({"layer_types": ["linear_attention", "full_attention"]}, "others"),  # Qwen3-Next
    ({"layer_types": ["linear_attention", "sliding_attention"]}, "others"),
    ({"full_attention_interval": 4}, "others"),
    ({"mamba_d_state": 16, "sliding_window": 64}, "others"),  # Jamba
    ({"layer_types": ["something new"]}, "others"),
    ({"layer_types": [{"odd": 1}]}, "others"),
    ({"layer_types": 7, "sliding_window": [64, None]}, "windows"),
    ({"text_config": {**CONFIG, "sliding_window": 64}}, "windows"),
])  # fmt: skip
def test_layers_that_the_sum_does_not_know_are_told(tmp_path: Path, config: dict[str, Any], unlike: str | None) -> None:
    told = headers.describe(folder(tmp_path / "m", {**CONFIG, **config}, TENSORS))
    found = known(ModelSource(uri="hf://acme/secret"), json.dumps(told), ())
    assert found
    assert found.unlike == unlike
    assert Known.of(found.wire()) == found
    spec = see({"engine": {"type": "vLLM"}, "accelerator": {}}).service.spec
    explanation = size(spec, found, [Device(None, 24 * GIB)]).explanation
    assert [word for word, said in UNLIKE.items() if said in explanation] == ([unlike] if unlike else [])


def test_a_word_that_nobody_knows_is_not_repeated() -> None:
    told = {**plain("qwen/qwen2.5-7b").wire(), "unlike": "<anything>"}
    found = Known.of(told)
    assert found
    assert found.unlike is None


def test_the_index_beside_a_compressed_vector_counts(tmp_path: Path) -> None:
    config = {**CONFIG, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "index_head_dim": 128}
    assert headers.describe(folder(tmp_path / "m", config, TENSORS))["head_dim"] == 352
