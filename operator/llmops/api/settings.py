"""What the processes can be told from outside: one frozen value, a field a setting, read from LLMOPS_<NAME>.

The chart's values and docs/reference/settings.md are made of the same table. Nothing else reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


class SettingError(ValueError):
    """An environment variable that cannot be read; the sentence names it and what to write."""


def _setting(default: Any, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Settings:
    """Every setting, with its default."""

    system_namespace: str = _setting("llmops-system", "The namespace of the operator and the gateway.")
    gateway_url: str = _setting(
        "http://llmops-gateway.llmops-system/v1", "The door's address, as pods in the cluster reach it."
    )
    gateway_pods_url: str = _setting(
        "http://llmops-gateway-pods.llmops-system:8080",
        "An address whose name has every gateway pod's IP address: each remembers other requests (spec.capture).",
    )
    gateway_service: str = _setting("llmops-gateway", "The gateway's Service in the system namespace.")
    gateway_port: int = _setting(8080, "The port that the gateway's pods listen on.")
    cluster_domain: str = _setting("cluster.local", "The cluster's DNS domain.")
    image_vllm: str = _setting("vllm/vllm-openai:v0.33.0", "The default image of engine vLLM.")
    image_sglang: str = _setting("lmsysorg/sglang:v0.5.23", "The default image of engine SGLang.")
    image_llamacpp: str = _setting("llmops/llamacpp:dev", "The default image of engine LlamaCpp.")
    image_bentoml: str = _setting("llmops/bentoml:dev", "The default image of engine BentoML.")
    image_openllm: str = _setting("llmops/openllm:dev", "The default image of engine OpenLLM.")
    image_operator: str = _setting(
        "llmops/operator:dev", "The image of the operator, the gateway and the model downloads."
    )
    image_evaluate: str = _setting("llmops/evaluate:dev", "The image of evaluation Jobs.")
    image_benchmark: str = _setting("llmops/benchmark:dev", "The image of benchmarks (lm-evaluation-harness).")
    image_retrieval: str = _setting("llmops/retrieval:dev", "The image of index Jobs and of the query servers.")
    image_milvus_lite: str = _setting("llmops/milvus-lite:dev", "The image of Milvus in mode Lite.")
    image_milvus: str = _setting("milvusdb/milvus:v3.0.2", "The image of Milvus in mode Standalone.")
    image_pull_policy: str = _setting("IfNotPresent", "The pull policy of every container that the operator makes.")
    hub_url: str = _setting(
        "https://huggingface.co", "Where hf:// models come from: the hub, or a mirror that speaks its HTTP API."
    )
    s3_url: str = _setting(
        "https://s3.{region}.amazonaws.com",
        "Where s3:// models come from, and datasets that name no endpoint: Amazon S3, or a store that speaks its API.",
    )
    gs_url: str = _setting(
        "https://storage.googleapis.com", "Where gs:// models come from: Google Cloud Storage's S3 interoperability."
    )
    oci_url: str = _setting(
        "https://{host}", "Where oci:// models come from: the registry in the address, or a mirror that has the same."
    )
    image_volumes: bool = _setting(
        False,
        "Whether new revisions mount oci:// models without a cache as image volumes: for clusters whose API servers, "
        "kubelets and container runtimes have them (Kubernetes' feature ImageVolume).",
    )
    custom_scorers: bool = _setting(
        False,
        "Whether EvalJobs may bring Python of their own that scores answers (type: Custom): in a container of the "
        "run's pod that has no token and no key, and the network of every pod of its namespace.",
    )
    prometheus_url: str = _setting(
        "",
        "Where Prometheus answers queries, such as http://prometheus.monitoring:9090: for autoscaling and rollouts "
        "that ask it.",
    )
    resync_seconds: float = _setting(600.0, "How long until an object is looked at again when nothing happened.")
    workers: int = _setting(8, "Reconciles at a time.")
    api_timeout_seconds: float = _setting(10.0, "The longest a call to the API server may take.")
    lease_seconds: float = _setting(15.0, "How long a leader's lease holds without being renewed.")
    keys_stale_seconds: float = _setting(900.0, "How long a gateway honours keys while it cannot reach the API server.")
    split_stale_seconds: float = _setting(
        30.0, "How long a gateway goes on sending users to a candidate while it cannot reach the API server."
    )
    held_requests: int = _setting(
        1000, "Requests for one service that a gateway holds while no pod of it is ready; what comes beyond is refused."
    )
    drain_seconds: float = _setting(60.0, "How long a gateway that is being replaced lets running streams finish.")
    drain_grace_seconds: float = _setting(
        5.0, "How long a gateway that is being replaced goes on taking requests, until nobody sends it any more."
    )
    credentials_folder: str = _setting(
        "/var/run/secrets/llmops/providers", "Where a gateway finds the mounted Secret llmops-providers."
    )
    operator_service_account: str = _setting(
        "llmops-operator", "The service account in the system namespace that gateways report to."
    )
    token_file: str = _setting(
        "/var/run/secrets/llmops/token",
        "The projected token (audience llmops) that the operator, and the pods of an index, show to gateways.",
    )
    log_level: str = _setting("info", "debug, info, warning or error.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The defaults, replaced by what LLMOPS_<NAME> says; SettingError names a value that does not fit."""
        given = {one.name: environ[env_name(one.name)] for one in fields(cls) if env_name(one.name) in environ}
        return cls(**{name: _read(name, text, type(getattr(cls, name))) for name, text in given.items()})


def env_name(setting: str) -> str:
    """The environment variable of a setting."""
    return f"LLMOPS_{setting.upper()}"


def _read(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text not in ("true", "false"):
            raise SettingError(f"{env_name(name)}={text!r} is neither true nor false: write one of them")
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        raise SettingError(
            f"{env_name(name)}={text!r} is not a number: write one, such as {getattr(Settings, name)}"
        ) from None
