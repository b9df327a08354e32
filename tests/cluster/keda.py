"""The real KEDA, and the Prometheus that it asks: compiled once a machine, only for the suite that needs them.

KEDA's own manifests come with its module; only the images are other ones, of the same programs.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from . import binaries, scratch
from .binaries import Source
from .layout import BIN, HERE, IMAGES
from .node import ctr, kubectl
from .progress import Progress

SOURCES = (
    Source("prometheus", "prometheus", "github.com/prometheus/prometheus/cmd/prometheus", 300),
    Source("keda", "keda", "github.com/kedacore/keda/v2/cmd/operator", 300),
    Source("keda-adapter", "keda", "github.com/kedacore/keda/v2/cmd/adapter", 60),
)
PROMETHEUS = "http://prometheus.keda.svc:9090"
PUBLISHED = {"keda": "ghcr.io/kedacore/keda", "keda-adapter": "ghcr.io/kedacore/keda-metrics-apiserver"}


def install() -> str:
    """KEDA as it is shipped, and Prometheus, which scrapes the gateways and the engines; its address."""
    binaries.ensure(SOURCES, Progress())
    for source in SOURCES:
        image = f"llmops.dev/{source.name}:test"
        if image not in ctr("images", "list", "--quiet").split():
            ctr("images", "import", str(scratch.build_archive(BIN / source.name, image, IMAGES / f"{source.name}.tar")))
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests())
    kubectl("apply", "--server-side", "-f", str(HERE / "manifests" / "prometheus.yaml"))
    for name in ("keda-operator", "keda-metrics-apiserver", "prometheus"):
        kubectl("rollout", "status", f"deployment/{name}", "--namespace=keda", "--timeout=300s")
    kubectl("wait", "apiservice/v1beta1.external.metrics.k8s.io", "--for=condition=Available", "--timeout=180s")
    return PROMETHEUS


def uninstall() -> None:
    """All of it: an API that nobody serves any more would keep every namespace from going."""
    kubectl("delete", "scaledobjects", "--all", "--all-namespaces", "--timeout=180s")
    kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=manifests())


def manifests() -> str:
    """The module's kustomization without its webhooks, with our images."""
    folder = _module() / "config" / "minimal"
    text = kubectl("kustomize", str(folder))
    for name, image in PUBLISHED.items():
        text = re.sub(rf"image: {re.escape(image)}:\S+", f"image: llmops.dev/{name}:test", text)
    return text.replace("imagePullPolicy: Always", "imagePullPolicy: IfNotPresent")


def _module() -> Path:
    command = ("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kedacore/keda/v2")
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE / "go" / "keda")
    return Path(told.stdout.strip())
