"""How many accelerators a replica needs, how the model is split over them, and what fits then. Pure.

What an engine leaves of a device is in memory.py. In that must lie the device's share of the weights, and the keys and
values of one context of full length:

    room    = devices * what the engine leaves - weights
    a token = 2 (keys, values) * layers * heads of keys and values * numbers a head * 2 bytes, 1 in FP8

Layers with a sliding window count as all others, as vLLM counts them where a model has both kinds: gpt-oss-120b had
78,384 tokens in 5.38 GiB, which is all 36 layers (alvarobartt/hf-mem#60). So do layers without attention: careful.
Where a model's files show such layers the explanation says so (known.UNLIKE).

Tensor parallelism divides heads, so it must divide them evenly; where it is wider than the heads of keys and values,
these are kept more than once. What it cannot divide is left to pipeline parallelism, which divides layers; so is what
lies on different nodes, whose network is too slow for tensors (a replica then takes whole nodes).
Weights take two bytes, or what the quantization leaves of them; embeddings keep two (hence a 4-bit model of 8 billion
weights is 5.7 GB, not 4). An adapter slot takes 2% of the weights in two bytes: rank 64 on every linear layer.

docs/sizing.md compares this with figures that people published.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic.alias_generators import to_camel, to_snake

from llmops.api.llmservice import LLMServiceSpec
from llmops.serving.devices import GIB, Device
from llmops.serving.known import UNLIKE, Known
from llmops.serving.memory import Budget, budget

Object = dict[str, Any]

COUNTS = (1, 2, 4, 8, 16)
NODES = range(2, 9)  # of one replica
BYTES = {
    "fp8": 1.0, "int8": 1.0, "w8a8_int8": 1.0, "awq": 0.52, "awq_marlin": 0.52, "gptq": 0.52, "gptq_marlin": 0.52,
    "bitsandbytes": 0.52, "int4": 0.52,
}  # fmt: skip
"""A weight, by quantization; four bits come in groups of 128 with a scale and a zero each."""
UNQUANTIZED = 2.0
SOLVED_BY = {"fp8": "engine.quantization: fp8", "awq": "a model quantized by awq"}
EMBEDDINGS = 0.13, 2_200_000_000
"""Their share of the weights where nobody says, and how many at most."""
ADAPTER = 0.02
SLOTS = 4
SHORTEST = 2048  # tokens: less than this is no context
READ = 200e6  # bytes a second from disk to device, assumed: a network volume
SETTLE = 600  # seconds for everything else of a start: pulling the image, compiling, graphs
HOST = 8, 8  # GiB of RAM: for the engine, and for each device's process
SHARED = 8, 2  # GiB of /dev/shm: at least, and for each device
MEMORIES = (16, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 180, 192, 256, 288)  # GiB of devices that are sold


@dataclass(frozen=True)
class Sized:
    """What a replica gets. `count` is 0 without accelerators, None where nothing fits; memory in bytes.

    `limit` is a context length that the engine must be told, being shorter than the model's own and asked by nobody.
    """

    count: int | None
    explanation: str = ""
    tensor: int = 1
    pipeline: int = 1
    nodes: int = 1
    weights: float | None = None
    kv_cache_tokens: int | None = None
    context_length: int | None = None
    limit: int | None = None
    product: str | None = None
    startup_seconds: int | None = None
    model: Known | None = None

    @property
    def concurrency(self) -> int | None:
        """Requests of full length at a time."""
        many, each = self.kv_cache_tokens, self.context_length
        return None if many is None or not each else many // each

    @property
    def a_pod(self) -> int:
        """Devices of each of its pods, of which it has one a node."""
        return (self.count or 0) // self.nodes

    @property
    def host_memory(self) -> str | None:
        return f"{HOST[0] + HOST[1] * self.a_pod}Gi" if self.count and self.weights else None

    @property
    def shared_memory(self) -> str | None:
        return f"{max(SHARED[0], SHARED[1] * self.a_pod)}Gi" if self.count and self.weights else None

    def wire(self) -> Object:
        told = {to_camel(key): value for key, value in asdict(self).items() if value is not None and key != "model"}
        if self.nodes == 1:
            del told["nodes"]
        return told | ({"model": self.model.wire()} if self.model else {})

    @staticmethod
    def of(frozen: Object) -> Sized:
        told, model = {to_snake(key): value for key, value in frozen.items()}, frozen.get("model")
        return Sized(**{**told, "model": Known.of(model) if model else None})


@dataclass(frozen=True)
class _Need:
    """What must fit: weights in bytes, keys and values of `context` tokens."""

    known: Known
    weights: float
    context: int
    a_weight: float
    budget: Budget

    def split(self, count: int, nodes: int = 1) -> tuple[int, int]:
        """(tensor, pipeline): the widest tensor parallelism on one node that divides the heads."""
        a_node = count // nodes
        if self.known.heads is None:
            return a_node, nodes
        fair = [one for one in range(1, a_node + 1) if a_node % one == 0 and self._divides(one)]
        return max(fair), count // max(fair)

    def _divides(self, tensor: int) -> bool:
        heads, kv = self.known.heads or tensor, self.known.kv_heads
        return heads % tensor == 0 and (kv % tensor == 0 or tensor % kv == 0)

    def tokens(self, count: int, memory: float, nodes: int = 1) -> int:
        """How many tokens' keys and values lie beside the weights; negative where not even those fit."""
        tensor, pipeline = self.split(count, nodes)
        known = self.known
        heads, layers = math.ceil(known.kv_heads / tensor), math.ceil(known.layers / pipeline)
        room = self.left(count, memory, nodes) / count
        return math.floor(room / (2 * layers * heads * known.head_dim * self.budget.kv_bytes))

    def left(self, count: int, memory: float, nodes: int = 1) -> float:
        """Bytes for keys and values on all devices."""
        tensor, _ = self.split(count, nodes)
        hidden = self.known.heads and self.known.heads * self.known.head_dim
        room = self.budget.room(memory, hidden, tensor, count, bool(self.known.experts))
        return count * room - self.weights * self.budget.slack


def size(spec: LLMServiceSpec, known: Known | None, devices: Sequence[Device], groups: bool = False) -> Sized:
    """`devices`: what a replica may run on (devices.candidates); `groups`: whether the engine can on several nodes."""
    asked, context = spec.accelerator, spec.engine.context_length if spec.engine else None
    if asked is None:
        return Sized(0, "no accelerator was asked for: the engine runs on CPUs", context_length=context)
    given = asked.count if isinstance(asked.count, int) else None
    nodes = _nodes(given, devices) if given is not None and groups else 1
    if given is not None and given % nodes:
        return _uneven(given, nodes, asked.resource)
    sure = [one for one in devices if one.memory]
    if known is None or not sure:
        return _unknown(spec, given, nodes, known)
    need = _need(spec, known)
    if given is not None:
        return _given(spec, given, nodes, need, sure)
    return (
        _fewest(spec, need, sure)
        or _shortened(spec, need, sure)
        or (_fewest_nodes(need, sure) if groups else None)
        or _nothing(spec, need, sure, groups)
    )


def _nodes(count: int, devices: Sequence[Device]) -> int:
    """How many nodes a count takes."""
    return math.ceil(count / max(one.a_node for one in devices))


def _uneven(count: int, nodes: int, resource: str) -> Sized:
    told = f"{count} {resource} a replica need {nodes} nodes, each with as many: write accelerator.count: "
    return Sized(None, f"{told}{count // nodes * nodes} or {(count // nodes + 1) * nodes}")


def _unknown(spec: LLMServiceSpec, given: int | None, nodes: int, known: Known | None) -> Sized:
    assert spec.accelerator is not None
    assert spec.engine is not None
    resource, context = spec.accelerator.resource, spec.engine.context_length
    if given is not None:
        told = f"{given} {resource} a replica{_on(nodes)}, as spec.accelerator.count says"
        return Sized(given, told, given // nodes, nodes, nodes, context_length=context, model=known)
    missing = [
        *(["spec.model.dimensions"] if known is None else []),
        *(["spec.accelerator.memory"] if spec.accelerator.memory is None else []),
    ]
    told = f"1 {resource} a replica: to have Auto computed, write {' and '.join(missing)}, or write the count"
    return Sized(1, told, context_length=context, model=known)


def _need(spec: LLMServiceSpec, known: Known) -> _Need:
    assert spec.engine is not None
    assert spec.model is not None
    context = min(spec.engine.context_length or known.context_length, known.context_length)
    a_weight = BYTES.get(spec.engine.quantization or "", UNQUANTIZED)
    adapters = slots(len(spec.model.adapters)) * ADAPTER * known.parameters * UNQUANTIZED
    weights = _weights(known, a_weight) + adapters
    return _Need(known, weights, context, a_weight, budget(spec.engine))


def slots(adapters: int) -> int:
    """Room for adapters comes by fours: so many more can be loaded before a pod must be made anew."""
    return math.ceil(adapters / SLOTS) * SLOTS


def _weights(known: Known, a_weight: float) -> float:
    """Bytes. Files that are quantized already are what they are."""
    if known.stored and (known.quantized or a_weight == UNQUANTIZED):
        return float(known.stored)
    if a_weight == UNQUANTIZED:
        return known.parameters * UNQUANTIZED
    share, most = EMBEDDINGS
    kept = min(share * known.parameters, most) if known.embeddings is None else known.embeddings
    return (known.parameters - kept) * a_weight + kept * UNQUANTIZED


def _given(spec: LLMServiceSpec, count: int, nodes: int, need: _Need, devices: Sequence[Device]) -> Sized:
    """The person decides, and is told where the sum says otherwise."""
    device = min(devices, key=lambda one: one.memory)
    tokens = need.tokens(count, device.memory, nodes)
    assert spec.accelerator is not None
    told = f"{count} {spec.accelerator.resource} a replica, as spec.accelerator.count says; "
    told += _sum(need, device, count, nodes)
    if tokens < need.context:
        told += f": by this sum one context of {need.context} does not fit"
    return replace(_sized(need, device, count, told, nodes), product=None)


def _fewest(spec: LLMServiceSpec, need: _Need, devices: Sequence[Device]) -> Sized | None:
    """On the product that leaves the least memory over."""
    assert spec.accelerator is not None
    fitting = [
        (count * device.memory, count, device)
        for device in devices
        for count in COUNTS
        if count <= device.a_node and need.tokens(count, device.memory) >= need.context
    ]
    if not fitting:
        return None
    _, count, device = min(fitting, key=lambda one: (*one[:2], one[2].product or ""))
    told = f"{_sum(need, device, count)}, and one context is {need.context}"
    if fewer := _with_less(need, device, count):
        told += f"; {fewer}"
    return _sized(need, device, count, told)


def _fewest_nodes(need: _Need, devices: Sequence[Device]) -> Sized | None:
    """Where no single node has room: whole nodes, as few devices as will do."""
    fitting = [
        (many * device.a_node * device.memory, many, device)
        for device in devices
        for many in NODES
        if many <= device.nodes and need.tokens(many * device.a_node, device.memory, many) >= need.context
    ]
    if not fitting:
        return None
    _, many, device = min(fitting, key=lambda one: (*one[:2], one[2].product or ""))
    told = f"{_sum(need, device, many * device.a_node, many)}, and one context is {need.context}"
    return _sized(need, device, many * device.a_node, told, many)


def _with_less(need: _Need, device: Device, count: int) -> str:
    """A whole context can cost devices that nobody needs: say what half of them would hold."""
    half = need.tokens(count // 2, device.memory) if count > 1 else 0
    return f"with engine.contextLength: {_round(half)} {count // 2} would do" if half >= SHORTEST else ""


def _shortened(spec: LLMServiceSpec, need: _Need, devices: Sequence[Device]) -> Sized | None:
    """Where nobody asked for a context and the model's own fits nowhere, the longest that does."""
    assert spec.engine is not None
    if spec.engine.context_length is not None:
        return None
    longest, count, device = _longest(need, devices)
    if longest < SHORTEST:
        return None
    told = f"{_sum(need, device, count)}, less than one context of {need.context}: {longest} are served"
    return replace(_sized(need, device, count, told), context_length=longest, limit=longest)


def _longest(need: _Need, devices: Sequence[Device]) -> tuple[int, int, Device]:
    """(tokens, devices, which): the longest context that fits anywhere."""
    tries = [(_round(need.tokens(n, one.memory)), -n, one) for one in devices for n in COUNTS if n <= one.a_node]
    tokens, count, device = max(tries, key=lambda one: one[:2])
    return tokens, -count, device


def _nothing(spec: LLMServiceSpec, need: _Need, devices: Sequence[Device], groups: bool) -> Sized:
    """What nearly fits, for a person to choose from."""
    longest, _, device = _longest(need, devices)
    resource = spec.accelerator.resource if spec.accelerator else ""
    nearest = [f"engine.contextLength: {longest}"] if longest >= SHORTEST else []
    if need.a_weight == UNQUANTIZED and not need.known.quantized:
        nearest += list(_smaller(need, devices))[:1]
    larger = next((one for one in MEMORIES if need.tokens(device.a_node, one * GIB) >= need.context), None)
    nearest += [f"devices of {larger} GiB"] if larger else []
    more = (many for many in NODES if need.tokens(many * device.a_node, device.memory, many) >= need.context)
    nearest += [f"{many} such nodes" for many in more if groups][:1]
    told = (
        f"{_weighs(need)} and a context of {need.context} tokens do not fit on {device.a_node} {resource} of "
        f"{device.memory / GIB:.0f} GiB, the most that a node has{_groups(spec, device, groups)}; the nearest that "
        f"fits: {', or '.join(nearest) or 'a smaller model'}"
    )
    return Sized(None, told, weights=need.weights, context_length=need.context, model=need.known)


def _groups(spec: LLMServiceSpec, device: Device, groups: bool) -> str:
    assert spec.engine is not None
    if not groups:
        return f", and {spec.engine.type} does not run one replica on several"
    return f", nor on the {device.nodes} nodes that have as many" if device.nodes > 1 else ""


def _smaller(need: _Need, devices: Sequence[Device]) -> Iterable[str]:
    for quantization, told in SOLVED_BY.items():
        other = replace(need, weights=_weights(need.known, BYTES[quantization]), a_weight=BYTES[quantization])
        if any(other.tokens(one.a_node, one.memory) >= need.context for one in devices):
            yield told


def _sized(need: _Need, device: Device, count: int, told: str, nodes: int = 1) -> Sized:
    tensor, pipeline = need.split(count, nodes)
    return Sized(
        count=count,
        explanation=told,
        tensor=tensor,
        pipeline=pipeline,
        nodes=nodes,
        weights=need.weights,
        kv_cache_tokens=max(0, need.tokens(count, device.memory, nodes)),
        context_length=need.context,
        product=device.product,
        startup_seconds=math.ceil(need.weights / READ) + SETTLE,
        model=need.known,
    )


def _sum(need: _Need, device: Device, count: int, nodes: int = 1) -> str:
    left = need.left(count, device.memory, nodes)
    what = f"{device.product or ('device' if count == 1 else 'devices')} of {device.memory / GIB:.0f} GiB"
    unlike = f" ({UNLIKE[need.known.unlike]})" if need.known.unlike else ""
    return (
        f"{_weighs(need)} (from {need.known.by}); {count} {what}{_on(nodes)} leave {max(0.0, left) / GIB:.1f} GiB "
        f"for keys and values, {max(0, need.tokens(count, device.memory, nodes))} tokens{unlike}"
    )


def _on(nodes: int) -> str:
    return f" on {nodes} nodes" if nodes > 1 else ""


def _weighs(need: _Need) -> str:
    return f"{need.known.parameters / 1e9:.1f} billion weights are {need.weights / GIB:.1f} GiB"


def _round(tokens: int) -> int:
    """Down to what people write."""
    return max(0, tokens) // 1024 * 1024
