"""How many accelerators a replica needs, with the sum in words. Pure.

The memory of one device, less what the driver and the engine take for themselves (2.3 GiB, 16%), must hold its share
of the weights (and 5% more for what is computed with them) and the keys and values of one context of full length. The
smallest of 1, 2, 4 and 8 that does is taken: engines split layers evenly among powers of two.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmops.api.llmservice import Accelerator, LLMServiceSpec
from llmops.api.quantities import quantity

GIB = 2**30
USABLE = 0.84
RESERVED = 2.3 * GIB
SLACK = 1.05
COUNTS = (1, 2, 4, 8)
BYTES = {"fp8": 1.0, "int8": 1.0, "bitsandbytes": 0.5, "awq": 0.5, "gptq": 0.5, "int4": 0.5}
UNQUANTIZED = 2.0


@dataclass(frozen=True)
class Sized:
    """`count` is 0 without accelerators, None where not even the most devices of a node suffice."""

    count: int | None
    explanation: str
    weights: float | None = None
    kv_cache_tokens: int | None = None
    context_length: int | None = None


def size(spec: LLMServiceSpec) -> Sized:
    asked, dimensions = spec.accelerator, spec.model.dimensions if spec.model else None
    context = spec.engine.context_length if spec.engine else None
    if asked is None:
        return Sized(0, "no accelerator was asked for: the engine runs on CPUs", context_length=context)
    if isinstance(asked.count, int):
        told = f"{asked.count} {asked.resource} a replica, as spec.accelerator.count says"
        return Sized(asked.count, told, context_length=context)
    if dimensions is None or asked.memory is None:
        told = (
            f"1 {asked.resource} a replica: to have Auto computed, write spec.model.dimensions and "
            "spec.accelerator.memory, or write the count"
        )
        return Sized(1, told, context_length=context)
    return _auto(spec, asked)


def _auto(spec: LLMServiceSpec, asked: Accelerator) -> Sized:
    assert spec.model is not None
    assert spec.model.dimensions is not None
    assert spec.engine is not None
    assert asked.memory is not None
    of, each = spec.model.dimensions, float(quantity(asked.memory))
    context = min(spec.engine.context_length or of.context_length, of.context_length)
    a_weight = BYTES.get(spec.engine.quantization or "", UNQUANTIZED)
    weights, a_token = of.parameters * a_weight, 2 * of.layers * of.kv_heads * of.head_dim * 2
    for count in COUNTS:
        room = count * (each * USABLE - RESERVED) - weights * SLACK
        if room >= context * a_token:
            told = (
                f"{of.parameters / 1e9:.1f} billion weights of {a_weight:g} bytes are {weights / GIB:.1f} GiB; "
                f"{count} {asked.resource} of {each / GIB:.0f} GiB leave {room / GIB:.1f} GiB for keys and values, "
                f"{int(room // a_token)} tokens of {a_token} bytes, and one context is {context}"
            )
            return Sized(count, told, weights, int(room // a_token), context)
    told = (
        f"{of.parameters / 1e9:.1f} billion weights of {a_weight:g} bytes ({weights / GIB:.1f} GiB) and a context of "
        f"{context} tokens do not fit on {COUNTS[-1]} {asked.resource} of {each / GIB:.0f} GiB, and a replica over "
        "several nodes is not available in this version: choose a quantization, a shorter engine.contextLength, or "
        "devices with more memory"
    )
    return Sized(None, told, weights, None, context)
