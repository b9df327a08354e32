"""Reads what a model is from the headers of its files, without loading a weight: what known.Known needs, as a dict.

A folder as on a hub: config.json, and the header of each *.safetensors (8 bytes of length, then JSON:
https://github.com/huggingface/safetensors). One *.gguf file: its keys and the shapes of its tensors
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Runs in the download, on files that somebody else wrote:
what is odd is left out, never an error.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

Object = dict[str, Any]

LONGEST = 100_000_000  # bytes of a header: the format's own bound
WHOLE = {"F64", "F32", "BF16", "F16"}  # tensors that nobody quantized
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")  # of Mixtral, of Qwen, of DeepSeek
ATTENTION = {"full_attention", "attention"}
WINDOWS = {"sliding_attention", "chunked_attention", "local_attention"}
OTHER_LAYERS = (
    "full_attention_interval", "linear_attn_config", "linear_num_value_heads", "mamba_d_state", "ssm_state_size",
    "hybrid_override_pattern", "layers_block_type", "attn_layer_period",
)  # fmt: skip
"""Keys of models some of whose layers have no attention: Qwen3-Next, Kimi Linear, Jamba, Nemotron-H, Granite 4."""
STRING, ARRAY = 8, 9
FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
FULL_WEIGHTS = (0, 1, 30)  # gguf's F32, F16, BF16


def describe(path: Path) -> Object:
    """{} where the files do not tell."""
    try:
        return _folder(path) if path.is_dir() else _gguf(path)
    except (OSError, ValueError, KeyError, TypeError, struct.error, RecursionError):
        return {}


def _folder(path: Path) -> Object:
    config = json.loads((path / "config.json").read_text())
    config = {**config, **config.get("text_config", {})}  # of a model that also sees
    tensors = [one for file in sorted(path.glob("*.safetensors")) for one in _tensors(file)]
    if not tensors:
        return {}
    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    kv_heads, head_dim = int(config.get("num_key_value_heads") or heads), config.get("head_dim") or hidden // heads
    if rank := config.get("kv_lora_rank"):
        # one compressed vector for all heads (arXiv:2405.04434), halved: it is keys and values; and the index beside it
        kept = rank + config["qk_rope_head_dim"] + (config.get("index_head_dim") or 0)
        kv_heads, head_dim = 1, math.ceil(kept / 2)
    words = [math.prod(one["shape"]) for name, one in tensors if "embed_tokens" in name or name.startswith("lm_head")]
    return {
        "parameters": sum(math.prod(one["shape"]) for _, one in tensors),
        "layers": int(config["num_hidden_layers"]),
        "kv_heads": kv_heads,
        "head_dim": int(head_dim),
        "heads": heads,
        "context_length": int(config["max_position_embeddings"]),
        "embeddings": sum(words),
        "stored": sum(one["data_offsets"][1] - one["data_offsets"][0] for _, one in tensors),
        "quantized": any(one["dtype"] not in WHOLE for _, one in tensors),
        **_experts(config.get(key) for key in EXPERTS),
        **_unlike(config),
    }


def _unlike(config: Object) -> Object:
    """Which of its layers are not what the sum takes all of them for (known.UNLIKE)."""
    said, window = config.get("layer_types"), config.get("sliding_window")
    kinds = {str(one) for one in said} if isinstance(said, list) else set()
    if kinds - ATTENTION - WINDOWS or any(config.get(key) for key in OTHER_LAYERS):
        return {"unlike": "others"}
    slides = bool(window) and config.get("use_sliding_window", True)
    narrow = not isinstance(window, int) or window < int(config["max_position_embeddings"])
    return {"unlike": "windows"} if kinds & WINDOWS or (slides and narrow) else {}


def _experts(said: Iterable[Any]) -> Object:
    found = [one for one in said if isinstance(one, int) and one > 1]
    return {"experts": found[0]} if found else {}


def _tensors(path: Path) -> list[tuple[str, Object]]:
    with path.open("rb") as file:
        length = int(struct.unpack("<Q", file.read(8))[0])
        if length > LONGEST:
            raise ValueError("longer than a header may be")
        found: Object = json.loads(file.read(length))
    return [(name, one) for name, one in found.items() if name != "__metadata__"]


def _gguf(path: Path) -> Object:
    with path.open("rb") as file:
        magic, version, tensors, pairs = struct.unpack("<4sIQQ", file.read(24))
        if magic != b"GGUF" or version < 2:
            return {}
        keys = {_string(file): _value(file, _number(file, "I")) for _ in range(pairs)}
        shapes = [_shape(file) for _ in range(tensors)]
    of = keys["general.architecture"]
    heads = int(keys[f"{of}.attention.head_count"])
    words = [math.prod(shape) for name, shape, _ in shapes if name in ("token_embd.weight", "output.weight")]
    return {
        "parameters": sum(math.prod(shape) for _, shape, _ in shapes),
        "layers": keys[f"{of}.block_count"],
        "kv_heads": keys.get(f"{of}.attention.head_count_kv", heads),
        "head_dim": keys.get(f"{of}.attention.key_length") or keys[f"{of}.embedding_length"] // heads,
        "heads": heads,
        "context_length": keys[f"{of}.context_length"],
        "embeddings": sum(words),
        "stored": path.stat().st_size,
        "quantized": any(kind not in FULL_WEIGHTS for _, _, kind in shapes),
        **_experts([keys.get(f"{of}.expert_count")]),
        **({"unlike": "others"} if f"{of}.ssm.state_size" in keys else {}),
    }


def _shape(file: IO[bytes]) -> tuple[str, tuple[int, ...], int]:
    name, many = _string(file), int(_number(file, "I"))
    shape = struct.unpack(f"<{many}Q", file.read(8 * many))
    kind, _ = _number(file, "I"), _number(file, "Q")
    return name, shape, int(kind)


def _value(file: IO[bytes], kind: int) -> Any:
    if kind == STRING:
        return _string(file)
    if kind != ARRAY:
        return _number(file, FIXED[kind])
    inner, many = int(_number(file, "I")), int(_number(file, "Q"))
    if inner in FIXED:
        file.seek(many * struct.calcsize(FIXED[inner]), 1)  # token scores: of no use here
        return None
    for _ in range(many):
        _value(file, inner)
    return None


def _string(file: IO[bytes]) -> str:
    length = int(_number(file, "Q"))
    if length > LONGEST:
        raise ValueError("longer than a string may be")
    return file.read(length).decode(errors="replace")


def _number(file: IO[bytes], form: str) -> Any:
    form = f"<{form}"
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]
