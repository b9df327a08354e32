"""How many accelerators, against models whose needs are known."""

from __future__ import annotations

from typing import Any

import pytest

from llmops.api.llmservice import LLMServiceSpec
from llmops.serving.sizing import Sized, size

LLAMA_8B = {"parameters": 8_030_261_248, "layers": 32, "kvHeads": 8, "headDim": 128, "contextLength": 131_072}
LLAMA_70B = {"parameters": 70_553_706_496, "layers": 80, "kvHeads": 8, "headDim": 128, "contextLength": 131_072}


def sized(dimensions: dict[str, int] | None, context: int = 8192, **accelerator: Any) -> Sized:
    engine = {"type": "vLLM", "contextLength": context, "quantization": accelerator.pop("quantization", None)}
    return size(LLMServiceSpec.model_validate({
        "model": {"uri": "pvc://weights/m", "dimensions": dimensions},
        "engine": engine, "accelerator": accelerator or None,
    }))  # fmt: skip


@pytest.mark.parametrize(("dimensions", "memory", "context", "quantization", "count"), [
    (LLAMA_8B, "80Gi", 8192, None, 1),
    (LLAMA_8B, "24Gi", 8192, None, 1),
    (LLAMA_8B, "16Gi", 8192, None, 2),
    (LLAMA_70B, "80Gi", 8192, None, 4),
    (LLAMA_70B, "80Gi", 8192, "fp8", 2),
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
        "8.0 billion weights of 2 bytes are 15.0 GiB; 1 nvidia.com/gpu of 80 GiB leave 49.2 GiB for keys and values, "
        "403002 tokens of 131072 bytes, and one context is 8192"
    )


def test_a_given_count_is_taken_and_a_missing_number_is_asked_for() -> None:
    assert sized(LLAMA_70B, count=3).count == 3
    guessed = sized(None, memory="80Gi")
    assert guessed.count == 1
    assert "write spec.model.dimensions" in guessed.explanation
    assert sized(None).count == 0
