"""Well-known models as data: hf:// address in lower case -> the first fields of known.Known.

Each row is (parameters, layers, heads of keys and values, numbers a head, context length, attention heads, weights of
the embeddings). Source: config.json and the safetensors index of each repository. tests/unit/serving/test_known.py
computes the parameters anew from the other published sizes of each architecture. All are kept in two bytes a weight.
"""

from __future__ import annotations

from collections.abc import Mapping

Row = tuple[int, int, int, int, int, int, int]

_ROWS: Mapping[str, Row] = {
    "meta-llama/llama-3.1-8b": (8_030_261_248, 32, 8, 128, 131_072, 32, 1_050_673_152),
    "meta-llama/llama-3.1-70b": (70_553_706_496, 80, 8, 128, 131_072, 64, 2_101_346_304),
    "meta-llama/llama-3.1-405b": (405_853_388_800, 126, 8, 128, 131_072, 128, 4_202_692_608),
    "meta-llama/llama-3.2-1b": (1_235_814_400, 16, 8, 64, 131_072, 32, 262_668_288),
    "meta-llama/llama-3.2-3b": (3_212_749_824, 28, 8, 128, 131_072, 24, 394_002_432),
    "mistralai/mistral-7b-v0.3": (7_248_023_552, 32, 8, 128, 32_768, 32, 268_435_456),
    "mistralai/mixtral-8x7b-v0.1": (46_702_792_704, 32, 8, 128, 32_768, 32, 262_144_000),
    "qwen/qwen2.5-0.5b": (494_032_768, 24, 2, 64, 32_768, 14, 136_134_656),
    "qwen/qwen2.5-1.5b": (1_543_714_304, 28, 2, 128, 32_768, 12, 233_373_696),
    "qwen/qwen2.5-3b": (3_085_938_688, 36, 2, 128, 32_768, 16, 311_164_928),
    "qwen/qwen2.5-7b": (7_615_616_512, 28, 4, 128, 32_768, 28, 1_089_994_752),
    "qwen/qwen2.5-14b": (14_770_033_664, 48, 8, 128, 32_768, 40, 1_557_135_360),
    "qwen/qwen2.5-32b": (32_763_876_352, 64, 8, 128, 32_768, 40, 1_557_135_360),
    "qwen/qwen2.5-72b": (72_706_203_648, 80, 8, 128, 32_768, 64, 2_491_416_576),
    "qwen/qwen3-0.6b": (596_049_920, 28, 8, 128, 40_960, 16, 155_582_464),
    "qwen/qwen3-4b": (4_022_468_096, 36, 8, 128, 40_960, 32, 388_956_160),
    "qwen/qwen3-8b": (8_190_735_360, 36, 8, 128, 40_960, 32, 1_244_659_712),
    "qwen/qwen3-14b": (14_768_307_200, 40, 8, 128, 40_960, 40, 1_555_824_640),
    "qwen/qwen3-32b": (32_762_123_264, 64, 8, 128, 40_960, 64, 1_555_824_640),
    "qwen/qwen3-30b-a3b": (30_532_122_624, 48, 4, 128, 40_960, 32, 622_329_856),
    "qwen/qwen3-235b-a22b": (235_093_634_560, 94, 4, 128, 40_960, 64, 1_244_659_712),
    "microsoft/phi-4": (14_659_507_200, 40, 10, 128, 16_384, 40, 1_027_604_480),
}  # fmt: skip
_SAME: Mapping[str, tuple[str, ...]] = {  # trained further, with the same sizes
    "meta-llama/llama-3.1-8b": (
        "meta-llama/llama-3.1-8b-instruct", "deepseek-ai/deepseek-r1-distill-llama-8b",
    ),
    "meta-llama/llama-3.1-70b": (
        "meta-llama/llama-3.1-70b-instruct", "meta-llama/llama-3.3-70b-instruct",
        "deepseek-ai/deepseek-r1-distill-llama-70b",
    ),
    "mistralai/mistral-7b-v0.3": ("mistralai/mistral-7b-instruct-v0.3",),
    "mistralai/mixtral-8x7b-v0.1": ("mistralai/mixtral-8x7b-instruct-v0.1",),
    **{
        name: (f"{name}-instruct",) for name in _ROWS
        if name.startswith(("qwen/qwen2.5", "meta-llama/llama-3.2", "meta-llama/llama-3.1-405b"))
    },
}  # fmt: skip

CATALOGUE: Mapping[str, Row] = {
    **_ROWS, **{same: _ROWS[name] for name, others in _SAME.items() for same in others},
}  # fmt: skip

EXPERTS: Mapping[str, int] = {
    "mistralai/mixtral-8x7b-v0.1": 8, "mistralai/mixtral-8x7b-instruct-v0.1": 8,
    "qwen/qwen3-30b-a3b": 128, "qwen/qwen3-235b-a22b": 128,
}  # fmt: skip
"""How many a layer has, of those that have any."""
