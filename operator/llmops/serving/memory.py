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
tests/unit/serving/test_known.py cites, growing with the device. The two constants for that were chosen with those
threads at hand. With experts, 8.1 GiB were missing in the only thread there is (vllm#21348) and nobody says what for:
more is set aside for them, so that we promise no more than was found.

SGLang divides its share between weights and tokens alone and computes outside of it; what it loads before it begins to
count lies inside: 0.3 GiB on one device, 2.2 GiB on each of four H100 (vllm#21348). Its default share depends on the
device and the split (python/sglang/srt/server_args.py); 0.82 is the least it gives a device of 80 or 141 GB.

Of other engines nothing is known, so they get KAITO's estimate: 84%, 2.3 GiB, and 5% more for the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmops.api.llmservice import Engine
from llmops.serving.devices import GIB

SHARE_ARGS = {"vLLM": "--gpu-memory-utilization", "SGLang": "--mem-fraction-static"}
SHARES = {"vLLM": 0.92, "SGLang": 0.82}
WITHIN = (0.15, 1.0)  # a share outside of it leaves nothing, or does not start
BATCH_ARG, BATCH = "--max-num-batched-tokens", 8192  # what vLLM takes of 70 GiB and more; 2048 of less
A_TOKEN = 26.5  # bytes for each hidden number
CHOOSING = 0.58 * GIB
HIDDEN = 8192  # where nobody says: that of a 70B model
KV_ARG, KV_HALF, KV_WHOLE = "--kv-cache-dtype", 1.0, 2.0


@dataclass(frozen=True)
class Budget:
    """`share` of a device, less `fixed` bytes and the part `growing` of it; `batch` tokens are computed at a time."""

    share: float
    fixed: float
    growing: float = 0.0
    experts: float = 0.0
    batch: int = 0
    slack: float = 1.0
    kv_bytes: float = KV_WHOLE

    def room(self, memory: float, hidden: int | None, tensor: int, experts: bool) -> float:
        """Bytes of one device for weights, keys and values; negative where the engine alone is too much."""
        computing = max(CHOOSING, self.batch * A_TOKEN * (hidden or HIDDEN) / tensor) if self.batch else 0.0
        growing = self.growing * (tensor > 1 or self.batch > 0) + self.experts * experts
        return memory * (self.share - growing) - self.fixed - computing


def budget(engine: Engine) -> Budget:
    share = _number(engine, SHARE_ARGS.get(engine.type, ""), SHARES.get(engine.type, 0.0), WITHIN)
    if engine.type == "vLLM":
        batch = int(_number(engine, BATCH_ARG, BATCH, (1, 10_000_000)))
        return Budget(share, 0.65 * GIB, growing=0.0125, experts=0.08, batch=batch, kv_bytes=_kv(engine))
    if engine.type == "SGLang":
        return Budget(share, 0.5 * GIB, growing=0.022, kv_bytes=_kv(engine))
    return Budget(0.84, 2.3 * GIB, slack=1.05)


def _kv(engine: Engine) -> float:
    """One byte a number with fp8, fp8_e5m2 and fp8_e4m3. What else there is, is counted whole: never too much."""
    return KV_HALF if (_said(engine.args, KV_ARG) or "").startswith("fp8") else KV_WHOLE


def _number(engine: Engine, name: str, default: float, within: tuple[float, float]) -> float:
    """What the engine would refuse is left to the engine to say."""
    try:
        said = float(_said(engine.args, name) or default)
    except ValueError:
        return default
    return said if within[0] <= said <= within[1] else default


def _said(args: Sequence[str], name: str) -> str | None:
    """--name=value, or --name and then the value; engines take both, and _ for -."""
    found = None
    for at, one in enumerate(args):
        word, equals, value = one.partition("=")
        if name and word.replace("_", "-") == name:
            found = value if equals else next(iter(args[at + 1 : at + 2]), None)
    return found
