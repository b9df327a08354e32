"""The own node, started as a story: packages, programs, network, control plane, kubelet, what runs in it.

Every step looks first and does only what is missing, so `up` on a running cluster is a look, `up` after anything was
killed starts just that again, and `up` after a reboot starts everything on the objects that were there.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from . import binaries, certificates, clean, components, debian, network, scratch
from .layout import BIN, CONTAINERD_SOCKET, DNS_IP, HERE, IMAGES, KUBECONFIG, RUN, STATE
from .processes import ensure
from .progress import Progress

DNS_IMAGE = "llmops.dev/coredns:1"
MANIFESTS = HERE / "manifests"
APPLIED = STATE / "applied"


def up(progress: Progress) -> Path:
    """Have the node running and Ready; its kubeconfig."""
    debian.ensure(progress)
    binaries.ensure(binaries.NODE, progress)
    RUN.mkdir(parents=True, exist_ok=True, mode=0o755)
    clean.make_cgroups()
    network.ensure()
    certificates.make()
    progress("starting etcd, the API server, its controllers and containerd")
    ensure(components.etcd())
    ensure(components.containerd())
    ensure(components.apiserver())
    ensure(components.controller_manager())
    ensure(components.scheduler())
    load_own_images()
    progress("starting the kubelet, Services and DNS")
    ensure(components.kubelet())
    ensure(components.proxy())
    apply_manifests()
    ensure(components.kwok())
    ensure(components.volumes())
    wait_until_ready(progress)
    return KUBECONFIG


def down() -> None:
    clean.remove_node()


def load_own_images() -> None:
    """The pause image and the DNS server's: two static programs that no registry is needed for."""
    have = ctr("images", "list", "-q").split()
    for program, image in (("pause", components.PAUSE_IMAGE), ("coredns", DNS_IMAGE)):
        if image not in have:
            archive = scratch.build_archive(BIN / program, image, IMAGES / f"{program}.tar")
            ctr("images", "import", str(archive))


def ctr(*arguments: str) -> str:
    """containerd's own command, in the namespace that the kubelet uses."""
    command = ("ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io", *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    command = (str(BIN / "kubectl"), f"--kubeconfig={KUBECONFIG}", *arguments)
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
    if done.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def apply_manifests() -> None:
    """DNS, the StorageClass and the fake nodes; only if they changed since they were last applied."""
    texts = [(MANIFESTS / name).read_text() for name in ("dns.yaml", "storage.yaml")]
    text = "\n---\n".join((*texts, json.dumps(build_fake_nodes())))
    text = text.replace("${DNS_IP}", DNS_IP).replace("${DNS_IMAGE}", DNS_IMAGE)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if not APPLIED.exists() or APPLIED.read_text() != digest:
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
        APPLIED.write_text(digest)


def build_fake_nodes(count: int = 2) -> dict[str, object]:
    """Nodes with eight GPUs that KWOK pretends are there, labelled as NVIDIA's GPU operator labels them."""
    size = {"cpu": "128", "memory": "1Ti", "pods": "500", "ephemeral-storage": "10Ti", "nvidia.com/gpu": "8"}
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"fake-gpu-{number}",
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {
                    "type": "kwok",
                    "kubernetes.io/hostname": f"fake-gpu-{number}",
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "topology.kubernetes.io/zone": f"zone-{number}",
                    "nvidia.com/gpu.present": "true",
                    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
                    "nvidia.com/gpu.memory": "81559",
                    "nvidia.com/gpu.count": "8",
                    "nvidia.com/gpu.family": "hopper",
                },
            },
            "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
            "status": {"capacity": size, "allocatable": size},
        }
        for number in range(1, count + 1)
    ]
    return {"apiVersion": "v1", "kind": "List", "items": nodes}


def wait_until_ready(progress: Progress) -> None:
    """The node takes pods, names resolve, and the account that every pod needs exists."""
    kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=300s")
    progress("the nodes are Ready; waiting for DNS")
    kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=120s")
    kubectl("--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=300s")
