"""What every engine answers: its port, its arguments, its probes, its default needs, and how long it may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.api.llmservice import LLMService
from llmops.serving.sizing import Sized

Object = dict[str, Any]
Adapters = Mapping[str, str]
"""Paths of adapters by their names."""


@dataclass(frozen=True)
class Teaching:
    """How an engine takes adapters while it runs: POST to `load` {lora_name, lora_path}, to `unload` {lora_name}; what
    it has it lists at /v1/models, the path as `root`."""

    args: Callable[[int], list[str]]  # that leave room for so many
    load: str
    unload: str
    called: Callable[[str, str], str]  # of a service's and an adapter's name: its name in the engine
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Engine:
    """One engine. Times are in seconds."""

    port: int
    args: Callable[[LLMService, str, Sized, Adapters], list[str]]  # of the model's path, and what a replica gets;
    # those of spec.engine.args come after them
    health: str  # startup and liveness
    ready: str
    requests: Mapping[str, str]  # CPU and memory where the spec has none
    startup_seconds: int  # until a slow start counts as failed
    drain_seconds: int  # the longest a stream may take to end
    pre_stop_seconds: int  # before the engine is told: so long the endpoints need to forget the pod
    setting: str  # the setting that has its default image
    command: tuple[str, ...] = ()  # where the image does not start the engine by itself
    wants_folder: bool | None = False  # a model is a folder of files, not one file; None: whatever it is
    shared_memory: str | None = None  # size of /dev/shm
    env: Mapping[str, str] | None = None
    joined: Callable[[int], tuple[list[str], list[str]]] | None = None  # a leader's and a worker's, of so many nodes
    teaching: Teaching | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)  # spec.autoscaling.metric.type -> its gauge, of each pod
