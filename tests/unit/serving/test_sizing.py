"""How many accelerators, against models whose needs are known, and against the sum computed another way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llmops.api.llmservice import Accelerator, LLMServiceSpec
from llmops.serving import devices
from llmops.serving.devices import GIB, MIB, Device
from llmops.serving.known import Known, known
from llmops.serving.memory import budget
from llmops.serving.sizing import Sized, size

LLAMA_8B = {"parameters": 8_030_261_248, "layers": 32, "kvHeads": 8, "headDim": 128, "contextLength": 131_072}
LLAMA_70B = {"parameters": 70_553_706_496, "layers": 80, "kvHeads": 8, "headDim": 128, "contextLength": 131_072}
QWEN_7B = {
    "parameters": 7_615_616_512, "layers": 28, "kvHeads": 4, "headDim": 128, "contextLength": 32_768, "heads": 28,
}  # fmt: skip


def node(product: str | None, memory: int | None, count: int = 8) -> dict[str, Any]:
    """As NVIDIA's discovery labels it; memory in MiB."""
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": memory and str(memory)}
    return {
        "metadata": {"name": "n", "labels": {key: value for key, value in labels.items() if value}},
        "status": {"allocatable": {"nvidia.com/gpu": str(count)}},
    }


H100, L4, A100 = node("NVIDIA-H100-80GB-HBM3", 81_559), node("NVIDIA-L4", 23_034), node("NVIDIA-A100-SXM4-40GB", 40_960)


def sized(
    dimensions: Mapping[str, int | None] | None,
    context: int | None = 8192,
    nodes: tuple[Any, ...] = (),
    **accelerator: Any,
) -> Sized:
    engine = {"type": "vLLM", "contextLength": context, "quantization": accelerator.pop("quantization", None)}
    spec = LLMServiceSpec.model_validate({
        "model": {"uri": "pvc://weights/m", "dimensions": dimensions, "adapters": accelerator.pop("adapters", [])},
        "engine": engine, "accelerator": {**accelerator} if accelerator or nodes else None,
    })  # fmt: skip
    assert spec.model
    offered = devices.candidates(spec.accelerator, nodes) if spec.accelerator else []
    return size(spec, known(spec.model, "", ()), offered)


@pytest.mark.parametrize(("dimensions", "memory", "context", "quantization", "count"), [
    (LLAMA_8B, "80Gi", 8192, None, 1),
    (LLAMA_8B, "24Gi", 8192, None, 1),
    (LLAMA_8B, "16Gi", 8192, None, 2),
    (LLAMA_70B, "80Gi", 8192, None, 2),
    (LLAMA_70B, "80Gi", 8192, "fp8", 1),
    (LLAMA_70B, "80Gi", 8192, "awq", 1),
    (LLAMA_70B, "24Gi", 8192, None, 8),
    (LLAMA_70B, "16Gi", 8192, None, None),
    (LLAMA_8B, "24Gi", 131_072, None, 2),
])  # fmt: skip
def test_the_smallest_count_whose_memory_holds_weights_and_one_whole_context_is_taken(
    dimensions: dict[str, int], memory: str, context: int, quantization: str | None, count: int | None
) -> None:
    assert sized(dimensions, context, memory=memory, quantization=quantization).count == count


def test_the_sum_is_told_so_that_a_person_can_check_it() -> None:
    found = sized(LLAMA_8B, memory="80Gi")
    assert found.explanation == (
        "8.0 billion weights are 15.0 GiB (from spec.model.dimensions); 1 device of 80 GiB leave 55.3 GiB for keys "
        "and values, 453314 tokens, and one context is 8192"
    )
    assert (found.concurrency, found.startup_seconds, found.host_memory) == (55, 681, "16Gi")


def test_a_given_count_is_taken_and_a_missing_number_is_asked_for() -> None:
    assert sized(LLAMA_70B, count=3).count == 3
    tight = sized(LLAMA_70B, count=1, memory="80Gi")
    assert tight.count == 1
    assert "by this sum one context of 8192 does not fit" in tight.explanation
    guessed = sized(None, memory="80Gi")
    assert guessed.count == 1
    assert "write spec.model.dimensions, or write the count" in guessed.explanation
    assert "write spec.accelerator.memory, or" in sized(LLAMA_8B, product="GRACE").explanation
    assert sized(None).count == 0


@pytest.mark.parametrize(("heads", "kv", "count", "split"), [
    (32, 8, 8, (8, 1)),
    (28, 4, 8, (4, 2)),  # 28 heads are not divided by 8
    (14, 2, 4, (2, 2)),
    (40, 10, 4, (2, 2)),  # nor 10 heads of keys by 4
    (24, 8, 3, (1, 3)),
    (None, 8, 4, (4, 1)),
])  # fmt: skip
def test_tensor_parallelism_divides_heads_and_layers_take_the_rest(
    heads: int | None, kv: int, count: int, split: tuple[int, int]
) -> None:
    found = sized({**QWEN_7B, "kvHeads": kv, "heads": heads}, count=count, memory="80Gi")
    assert (found.tensor, found.pipeline) == split


@pytest.mark.parametrize(("nodes", "dimensions", "product", "count"), [
    ((H100, L4), LLAMA_8B, "NVIDIA-L4", 1),
    ((H100, A100), LLAMA_8B, "NVIDIA-A100-SXM4-40GB", 1),
    ((H100, L4, A100), LLAMA_70B, "NVIDIA-A100-SXM4-40GB", 4),
    ((H100,), LLAMA_70B, "NVIDIA-H100-80GB-HBM3", 2),
    ((node("NVIDIA-L40S", None), node("NVIDIA-T4", None)), LLAMA_8B, "NVIDIA-T4", 2),  # by their names
    ((node("NVIDIA-T4", 15_360, 1), node("NVIDIA-H100-80GB-HBM3", 81_559, 2)), LLAMA_8B, "NVIDIA-H100-80GB-HBM3", 1),
    ((node(None, None),), LLAMA_8B, None, 1),  # nobody says: one, and a sentence
])  # fmt: skip
def test_of_what_the_nodes_offer_the_product_with_the_least_waste_is_chosen(
    nodes: tuple[Any, ...], dimensions: dict[str, int], product: str | None, count: int
) -> None:
    found = sized(dimensions, nodes=nodes)
    assert (found.product, found.count) == (product, count)


def test_a_product_that_was_asked_for_is_taken_whatever_it_wastes() -> None:
    found = sized(LLAMA_8B, nodes=(H100, L4), product="NVIDIA-H100-80GB-HBM3")
    assert (found.product, found.count) == ("NVIDIA-H100-80GB-HBM3", 1)


def test_a_replica_gets_no_more_devices_than_a_node_has() -> None:
    small = node("NVIDIA-L4", 23_034, 2)
    found = sized(LLAMA_70B, nodes=(small,))
    assert found.count is None
    assert "do not fit on 2 nvidia.com/gpu of 22 GiB" in found.explanation
    assert found.explanation.endswith("the nearest that fits: devices of 80 GiB")


def test_where_the_models_own_context_fits_nowhere_the_longest_that_does_is_served() -> None:
    one = node("NVIDIA-L4", 23_034, 1)
    found = sized(LLAMA_8B, None, nodes=(one,))
    assert (found.count, found.limit, found.context_length) == (1, 30_720, 30_720)
    assert "less than one context of 131072: 30720 are served" in found.explanation
    asked = sized(LLAMA_8B, 32_768, nodes=(one,))
    assert asked.count is None
    assert "the nearest that fits: engine.contextLength: 30720, or engine.quantization: fp8, or " in asked.explanation


def test_a_shorter_context_that_halves_the_devices_is_told() -> None:
    assert "; with engine.contextLength: 45056 1 would do" in sized(LLAMA_8B, 131_072, memory="24Gi").explanation


def test_adapters_take_room() -> None:
    adapters = [{"name": f"a{number}", "uri": "hf://acme/a"} for number in range(8)]
    plain, dressed = sized(LLAMA_8B, memory="80Gi"), sized(LLAMA_8B, memory="80Gi", adapters=adapters)
    assert plain.kv_cache_tokens
    assert dressed.kv_cache_tokens
    assert 0.9 < dressed.kv_cache_tokens / plain.kv_cache_tokens < 0.97


def with_args(engine: str, *args: str, model: dict[str, int] | None = None, memory: str = "80Gi") -> int:
    """Tokens on one device."""
    spec = LLMServiceSpec.model_validate({
        "model": {"uri": "pvc://weights/m", "dimensions": model or LLAMA_8B},
        "engine": {"type": engine, "args": args}, "accelerator": {"memory": memory, "count": 1},
    })  # fmt: skip
    assert spec.model
    assert spec.accelerator
    return size(spec, known(spec.model, "", ()), devices.candidates(spec.accelerator, ())).kv_cache_tokens or 0


@pytest.mark.parametrize(
    ("engine", "more"), [("vLLM", "--gpu-memory-utilization"), ("SGLang", "--mem-fraction-static")]
)
def test_what_users_tell_the_engine_counts(engine: str, more: str) -> None:
    plain, eighth = with_args(engine), GIB * 8 // 131_072  # a tenth of the device, in tokens of two bytes a number
    low, high = with_args(engine, f"{more}=0.7"), with_args(engine, more, "0.8")
    assert low < high < with_args(engine, f"{more}=0.95")
    assert high - low == pytest.approx(eighth, abs=1)
    assert with_args(engine, f"{more}=0.7", f"{more.replace('-', '_').replace('__', '--', 1)}=0.8") == high  # the last
    assert with_args(engine, f"{more}=much") == with_args(engine, more) == with_args(engine, f"{more}=7") == plain
    for said in ("fp8", "fp8_e5m2"):
        assert with_args(engine, f"--kv-cache-dtype={said}") == pytest.approx(2 * plain, abs=1)
    for said in ("bfloat16", "fp8_ds_mla", "fp4_e2m1"):  # the second has 656 bytes for 576 numbers
        assert with_args(engine, "--kv-cache-dtype", said) == plain


def test_a_batch_and_experts_take_room_and_an_engine_that_we_know_little_of_gets_the_careful_sum() -> None:
    plain, experts = with_args("vLLM"), {**LLAMA_8B, "experts": 8}
    many, few = (with_args("vLLM", f"--max-num-batched-tokens={number}") for number in (32_768, 512))
    assert many < plain < few
    assert plain - with_args("vLLM", model=experts) == pytest.approx(8192 * 0.8 * MIB / 131_072, abs=1)
    assert with_args("SGLang", model=experts) == with_args("SGLang")  # which computes outside of its share
    assert with_args("SGLang", "--chunked-prefill-size=32768") < with_args("SGLang")
    assert with_args("BentoML", "--gpu-memory-utilization=0.95", "--kv-cache-dtype=fp8") == 403_002


@pytest.mark.parametrize(("mib", "count", "share"), [  # python/sglang/srt/server_args.py, with the larger graph
    (15_360, 1, 0.757), (24_564, 1, 0.842), (40_960, 1, 0.827), (81_559, 1, 0.829), (81_559, 8, 0.818),
    (143_771, 8, 0.896),
])  # fmt: skip
def test_sglang_takes_the_share_that_it_computes_for_the_device(mib: int, count: int, share: float) -> None:
    engine = LLMServiceSpec.model_validate({
        "model": {"uri": "pvc://weights/m"}, "engine": {"type": "SGLang"}, "accelerator": {},
    }).engine  # fmt: skip
    assert engine
    found = budget(engine).room(mib * MIB, None, 1, count, False) + 0.5 * GIB
    assert found / (mib * MIB) == pytest.approx(share, abs=0.001)


@pytest.mark.parametrize("edge", [20, 35, 60, 70, 160])
@pytest.mark.parametrize("engine", ["vLLM", "SGLang"])
def test_where_an_engine_takes_more_of_the_next_size_a_smaller_device_is_not_promised_more(
    engine: str, edge: int
) -> None:
    experts = {**LLAMA_8B, "experts": 8}
    below, at = (with_args(engine, model=experts, memory=f"{mib}Mi") for mib in (edge * 1024 - 1, edge * 1024))
    assert below <= at


def test_of_a_large_device_sglang_keeps_ten_gib_whatever_it_computes_at_a_time() -> None:
    said = [with_args("SGLang", f"--chunked-prefill-size={chunk}") for chunk in (512, 4096)]
    assert said == [math.floor((80 - 10 - 0.5) * GIB - 2 * LLAMA_8B["parameters"]) // 131_072] * 2


def test_a_device_below_70_gib_computes_less_at_a_time() -> None:
    small = {"experts": 8, **LLAMA_8B}
    for memory, batch in (("48Gi", 2048), ("80Gi", 8192)):
        plain = with_args("vLLM", model=small, memory=memory)
        assert plain == with_args("vLLM", f"--max-num-batched-tokens={batch}", model=small, memory=memory)


def test_what_an_earlier_operator_froze_is_read_as_it_was() -> None:
    model = {
        "parameters": 7, "layers": 1, "kvHeads": 1, "headDim": 1, "contextLength": 9, "heads": 2, "by": "its own files",
    }  # fmt: skip
    frozen = {
        "count": 4, "explanation": "by the sum of then", "tensor": 4, "pipeline": 1, "weights": 1.5,
        "kvCacheTokens": 403_002, "contextLength": 8192, "startupSeconds": 681, "model": model,
    }  # fmt: skip
    assert Sized.of(frozen).wire() == frozen


MODELS = some.builds(
    Known,
    parameters=some.integers(10**8, 10**12),
    layers=some.integers(1, 200),
    kv_heads=some.sampled_from([1, 2, 4, 8, 10, 16, 32]),
    head_dim=some.sampled_from([64, 128, 256]),
    context_length=some.integers(2048, 2**20),
    heads=some.sampled_from([None, 14, 28, 32, 40, 64, 128]),
    experts=some.sampled_from([None, 128]),
)
MEMORY = some.floats(4, 300).map(lambda gib: gib * GIB)
QUANTIZATIONS = [None, "fp8", "awq"]
HOW = some.one_of([
    some.fixed_dictionaries({"type": some.just(engine), "quantization": some.sampled_from(quantizations), "args": args})
    for engine, quantizations, args in (
        ("vLLM", QUANTIZATIONS, some.sampled_from([[], ["--kv-cache-dtype=fp8"], ["--max-num-batched-tokens=512"]])),
        ("SGLang", QUANTIZATIONS, some.sampled_from([[], ["--chunked-prefill-size=2048"]])),
        ("SGLang", QUANTIZATIONS, some.floats(0.3, 0.95).map(lambda share: [f"--mem-fraction-static={share:.3f}"])),
    )
])  # fmt: skip


def auto(model: Known, memory: float, how: dict[str, Any], context: int | None, count: int | str = "Auto") -> Sized:
    engine = {**how, "contextLength": context}
    whole = {"model": {"uri": "pvc://weights/m"}, "engine": engine, "accelerator": {"count": count}}
    return size(LLMServiceSpec.model_validate(whole), model, [Device(None, memory)])


@given(MODELS, MEMORY, HOW, some.integers(2048, 2**20))
def test_what_is_planned_fits_by_the_sum_and_no_smaller_count_does(
    model: Known, memory: float, how: dict[str, Any], context: int
) -> None:
    found = auto(model, memory, how, context)
    least = {None: 2.0, "fp8": 1.0, "awq": 0.5}[how["quantization"]] * model.parameters
    a_number = 1 if "--kv-cache-dtype=fp8" in how["args"] else 2
    a_token = 2 * model.layers * model.kv_heads * model.head_dim * a_number
    one_context = a_token * min(context, model.context_length)
    for count in (1, 2, 4, 8):
        room = count * memory * 0.95 - least  # the most that one may take: what is the engine's own asks for more
        if count == found.count:
            assert room >= 0.999 * one_context  # kept heads and uneven layers can only ask for more
        elif found.count is None or count < found.count:
            again = auto(model, memory, how, context, count)
            assert (again.kv_cache_tokens or 0) < min(context, model.context_length)


@given(MODELS, MEMORY, some.floats(1, 4), HOW, some.integers(2048, 2**20))
def test_more_memory_never_needs_more_devices_nor_holds_fewer_tokens(
    model: Known, memory: float, times: float, how: dict[str, Any], context: int
) -> None:
    less, more = (auto(model, one, how, context) for one in (memory, memory * times))
    if less.count is not None:
        assert more.count is not None
        assert more.count <= less.count
        given = [auto(model, one, how, context, less.count) for one in (memory, memory * times)]
        assert (given[1].kv_cache_tokens or 0) >= (given[0].kv_cache_tokens or 0)


@given(MODELS, MEMORY, HOW, some.integers(2048, 2**19))
def test_a_longer_context_never_needs_fewer_devices(
    model: Known, memory: float, how: dict[str, Any], context: int
) -> None:
    short, long = (auto(model, memory, how, one) for one in (context, context * 2))
    assert long.count is None or (short.count is not None and short.count <= long.count)


@given(MODELS, MEMORY, HOW)
def test_every_split_uses_every_device_and_every_sentence_fits_the_status(
    model: Known, memory: float, how: dict[str, Any]
) -> None:
    found = auto(model, memory, how, None)
    assert len(found.explanation) <= 2048
    if found.count:
        assert found.tensor * found.pipeline == found.count
        assert not model.heads or model.heads % found.tensor == 0
        assert Sized.of(found.wire()) == found


@pytest.mark.parametrize(("product", "gib"), [
    ("NVIDIA-H100-80GB-HBM3", 79.2), ("NVIDIA-L4", 22.0), ("Tesla-T4", 14.5), ("NVIDIA-H200", 139.9), ("GRACE", 0),
])  # fmt: skip
def test_a_devices_memory_is_known_by_its_name(product: str, gib: float) -> None:
    assert devices.memory_of(product) / GIB == pytest.approx(gib, abs=0.05)


def test_what_the_driver_keeps_for_itself_is_no_ones() -> None:
    [h100], [rtx] = (devices.candidates(Accelerator(), [one]) for one in (H100, node("RTX-3090", 24_576)))
    assert [h100.memory / GIB, rtx.memory / GIB] == pytest.approx([79.19, 23.58], abs=0.1)
    assert devices.candidates(Accelerator(), [node("ODD", 1)])[0].memory == 0


def test_amd_and_odd_labels_are_read() -> None:
    amd = {
        "metadata": {"labels": {"amd.com/gpu.product-name": "MI300X", "amd.com/gpu.vram": "192G"}},
        "status": {"allocatable": {"amd.com/gpu": "8"}},
    }
    assert devices.candidates(Accelerator(resource="amd.com/gpu"), [amd]) == [Device("MI300X", 192e9, 8)]
    odd = node("NVIDIA-L4", None)
    odd["metadata"]["labels"]["nvidia.com/gpu.memory"] = "plenty"
    assert devices.candidates(Accelerator(), [odd])[0].memory == devices.memory_of("NVIDIA-L4")
