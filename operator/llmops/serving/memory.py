"""What of a device's memory an engine leaves for weights and for keys and values. Pure.

Each engine takes a share of the device, of which some never holds weights or tokens. Users change the share in
spec.engine.args, which are read here as the engine reads them: the last one counts.

vLLM measures a forward pass of --max-num-batched-tokens as it starts. What such a pass holds is the widest
intermediate of one layer: in models of Llama's family about 13 numbers for each of its hidden ones (arXiv:2407.21783,
table 3: 3.5 x hidden, three times, and the residual), in two bytes, divided by tensor parallelism. 20,000 and 29,000
tokens of Llama-3.1-8B took 2.07 and 2.98 GiB (vllm#10517), which is that. Few tokens take no less than choosing the
next word does, for 256 requests at once over 150,000 words, in four bytes and four copies: 0.58 GiB, and 0.57 were
measured (vllm#57047).

Besides it takes what the driver, the kernels, the communicator and the graphs do: 0.4 to 2.2 GiB in the threads that
tests/unit/serving/test_known.py cites, growing with the device. The two constants for that were chosen with some of
those threads at hand; others, which came later, hold them.

With experts it also holds what each token's experts compute, which nobody divides: 5.30 and 1.39 GiB for 8224 and 2048
tokens at a time, and nothing else changed (MiaAI-Lab/DeepSeek-v4-Flash-One-DGX-Spark#4), so 0.7 MiB a token. 0.8 leave
of four H100 what was found (vllm#21348).

SGLang divides its share between weights and tokens alone and computes outside of it; what it loads before it begins to
count lies inside: 0.3 GiB on one device, 2.2 GiB on each of four H100 (vllm#21348). Where nobody tells it a share, it
keeps 0.5 GiB outside, 1.5 MiB for each token of a chunk, 2 MiB for each request of the largest graph and 128 MiB a
device, and of devices above 60 GiB 10 GiB at least (python/sglang/srt/server_args.py, for 0.5).

Of other engines nothing is known, so they get KAITO's estimate: 84%, 2.3 GiB, and 5% more for the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops.api.llmservice import Engine
from llmops.serving.devices import GIB, MIB

SHARE_ARGS = {"vLLM": "--gpu-memory-utilization", "SGLang": "--mem-fraction-static"}
SHARE = 0.92  # vLLM's, where nobody says
WITHIN = (0.15, 1.0)  # a share outside of it leaves nothing, or does not start
BATCH_ARG, CHUNK_ARG = "--max-num-batched-tokens", "--chunked-prefill-size"
BATCHES = ((70, 2048), (math.inf, 8192))
"""What vLLM computes at a time on devices below so many GiB (vllm/engine/arg_utils.py; less on an A100)."""
CHUNKS = ((20, 2048, 8), (35, 2048, 80), (60, 4096, 160), (160, 8192, 512), (math.inf, 16384, 512))
"""What SGLang does, and the requests of its largest graph on four devices and more."""
STEPS: Mapping[str, Sequence[tuple[float, ...]]] = {"vLLM": BATCHES, "SGLang": CHUNKS}
A_TOKEN = 26.5  # bytes for each hidden number
A_TOKENS_EXPERTS = 0.8 * MIB
CHOOSING = 0.58 * GIB
HIDDEN = 8192  # where nobody says: that of a 70B model
KV_ARG, KV_BYTES, KV_WHOLE = "--kv-cache-dtype", {"fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0}, 2.0


@dataclass(frozen=True)
class Budget:
    """What the engine says of itself; None and 0 where that depends on the device."""

    type: str
    share: float | None = None
    batch: int = 0
    kv_bytes: float = KV_WHOLE

    @property
    def slack(self) -> float:
        return 1.0 if self.type in SHARE_ARGS else 1.05

    def room(self, memory: float, hidden: int | None, tensor: int, count: int, experts: bool) -> float:
        """Bytes of one device for weights, keys and values; negative where the engine alone is too much.

        Where an engine takes so much more of the next size that it leaves less, that counts for this one too: more
        memory must never need more devices.
        """
        steps = (below * GIB for below, *_ in STEPS.get(self.type, ()) if below != math.inf)
        tried = (memory, *(one for one in steps if one > memory))
        if self.type == "vLLM":
            return min(self._beside_a_pass(one, hidden or HIDDEN, tensor, experts) for one in tried)
        if self.type == "SGLang":
            before = 0.022 if tensor > 1 else 0.0
            return min(one * (1 - before) - self._outside(one, count) for one in tried) - 0.5 * GIB
        return memory * 0.84 - 2.3 * GIB

    def _beside_a_pass(self, memory: float, hidden: int, tensor: int, experts: bool) -> float:
        batch = self.batch or next(many for below, many in BATCHES if memory < below * GIB)
        computing = max(CHOOSING, batch * A_TOKEN * hidden / tensor) + experts * batch * A_TOKENS_EXPERTS
        return memory * ((self.share or SHARE) - 0.0125) - 0.65 * GIB - computing

    def _outside(self, memory: float, count: int) -> float:
        """What is not of SGLang's share."""
        if self.share:
            return (1 - self.share) * memory
        chunk, graph = next((chunk, graph) for below, chunk, graph in CHUNKS if memory < below * GIB)
        kept = (512 + 1.5 * max(self.batch or chunk, 2048) + 2 * graph + 128 * count) * MIB
        return max(kept, 10 * GIB) if memory >= 60 * GIB else kept


def budget(engine: Engine) -> Budget:
    share = _number(engine, SHARE_ARGS.get(engine.type, ""), WITHIN)
    if engine.type not in SHARE_ARGS:
        return Budget(engine.type)
    batch = _number(engine, BATCH_ARG if engine.type == "vLLM" else CHUNK_ARG, (1, 10_000_000))
    return Budget(engine.type, share, int(batch or 0), KV_BYTES.get(_said(engine.args, KV_ARG) or "", KV_WHOLE))


def _number(engine: Engine, name: str, within: tuple[float, float]) -> float | None:
    """None where nobody says. What the engine would refuse is left to the engine to say."""
    try:
        said = float(_said(engine.args, name) or 0)
    except ValueError:
        return None
    return said if within[0] <= said <= within[1] else None


def _said(args: Sequence[str], name: str) -> str | None:
    """--name=value, or --name and then the value; engines take both, and _ for -."""
    found = None
    for at, one in enumerate(args):
        word, equals, value = one.partition("=")
        if name and word.replace("_", "-") == name:
            found = value if equals else next(iter(args[at + 1 : at + 2]), None)
    return found
