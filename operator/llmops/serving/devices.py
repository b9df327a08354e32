"""What accelerators the nodes offer, from the labels that the vendors' discovery puts on them. Pure.

NVIDIA (gpu-feature-discovery): nvidia.com/gpu.product, nvidia.com/gpu.memory in MiB. AMD (k8s-device-plugin's node
labeller): amd.com/gpu.product-name, amd.com/gpu.vram such as 64G.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llmops.api import names
from llmops.api.llmservice import Accelerator
from llmops.api.quantities import quantity

Object = dict[str, Any]

MIB, GIB = 2**20, 2**30
PRODUCT = {"nvidia.com": "nvidia.com/gpu.product", "amd.com": "amd.com/gpu.product-name"}
NVIDIA_MEMORY, AMD_MEMORY = "nvidia.com/gpu.memory", "amd.com/gpu.vram"
ASSUMED_A_NODE = 8  # devices, where no node tells
BY_NAME = {"H200": 143_771, "L40S": 46_068, "L40": 46_068, "L4": 23_034, "A10G": 23_028, "A10": 23_028, "T4": 15_360}
"""MiB that the driver shows of products whose label does not have it (NVIDIA-H100-80GB-HBM3 does)."""
SHOWN = 0.99  # of the gigabytes in a product's name
KEPT = 512 * MIB
"""Of what the driver shows, its own: programs saw 79.19 GiB of an H100's 81,559 MiB
(kubernetes-sigs/gateway-api-inference-extension#550), 23.58 of an RTX 3090's 24,576 (vllm#10517)."""


@dataclass(frozen=True)
class Device:
    """One kind of device: `memory` in bytes, 0 where nobody says; `a_node` how many the largest node has, and `nodes`
    how many nodes have as many."""

    product: str | None
    memory: float
    a_node: int = ASSUMED_A_NODE
    nodes: int = 1


def product_label(resource: str) -> str:
    return PRODUCT.get(resource.split("/")[0], f"{resource}.product")


def candidates(asked: Accelerator, nodes: Iterable[Object]) -> list[Device]:
    """What a replica may run on, at least one: those whose memory is told, where any is."""
    offered = [one for one in offers(asked.resource, nodes) if asked.product in (None, one.product)]
    if asked.memory is None and (told := [one for one in offered if one.memory]):
        return told
    memory = memory_of(asked.product or "") if asked.memory is None else float(quantity(asked.memory))
    largest = max(offered, key=lambda one: (one.a_node, one.nodes), default=Device(None, 0.0))
    return [Device(asked.product, memory, largest.a_node, largest.nodes)]


def offers(resource: str, nodes: Iterable[Object]) -> list[Device]:
    """Each product once, with what its smallest device has and its largest node offers; memory 0 where untold."""
    found: dict[str | None, Device] = {}
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        count = int(((node.get("status") or {}).get("allocatable") or {}).get(resource, 0))
        product = labels.get(product_label(resource))
        if not count:
            continue
        memory, before = _memory(labels) or memory_of(product or ""), found.get(product, Device(product, 0.0, 0, 0))
        memory = min(filter(None, (memory, before.memory)), default=0.0)
        alike = 1 + (before.nodes if before.a_node == count else 0)
        found[product] = Device(product, memory, *max((count, alike), (before.a_node, before.nodes)))
    return sorted(found.values(), key=lambda one: (one.memory, one.product or ""))


def memory_of(product: str) -> float:
    """Bytes of a device with this product label, 0 if the name does not say."""
    words = re.split(r"[-_ ]", product.upper())
    for word in words:
        if size := re.fullmatch(r"(\d+)GB", word):
            return int(size[1]) * SHOWN * GIB
    return next((float(BY_NAME[word] * MIB - KEPT) for word in words if word in BY_NAME), 0.0)


def held(resource: str, pods: Iterable[Object], namespace: str) -> str:
    """Which services hold devices, in words, the greatest first; those of other namespaces are not named."""
    counts: Counter[str] = Counter()
    for pod in pods:
        phase = (pod.get("status") or {}).get("phase")
        if not pod["spec"].get("nodeName") or phase in ("Succeeded", "Failed"):
            continue
        limits = [(one.get("resources") or {}).get("limits") or {} for one in pod["spec"].get("containers") or []]
        count = sum(int(one.get(resource, 0)) for one in limits)
        mine = pod["metadata"]["namespace"] == namespace
        owner = (pod["metadata"].get("labels") or {}).get(names.OWNER_NAME, pod["metadata"]["name"])
        counts["LLMService " + owner if mine else "other namespaces"] += count
    told = [f"{count} by {who}" for who, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count]
    return f"of {resource}, {', '.join(told[:5])} are held" if told else ""


def slim(node: Object) -> Object:
    """The part of a Node that is read here and by the scheduler's side of status: nodes are large and tell often."""
    metadata = {key: node["metadata"][key] for key in ("name", "resourceVersion", "labels") if key in node["metadata"]}
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    devices = {key: value for key, value in allocatable.items() if "/" in key}
    return {"metadata": metadata, "status": {"allocatable": devices}}


def _memory(labels: Object) -> float:
    try:
        if NVIDIA_MEMORY in labels:
            return max(0.0, float(labels[NVIDIA_MEMORY]) * MIB - KEPT)
        return float(quantity(labels[AMD_MEMORY])) if AMD_MEMORY in labels else 0.0
    except ValueError:
        return 0.0  # somebody else's label of that name
