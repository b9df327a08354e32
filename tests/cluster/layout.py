"""Where everything of the test cluster lives, its version and its addresses: the one table the other files read."""

from __future__ import annotations

import os
from pathlib import Path

KUBERNETES = "v1.34.4"

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent

# A second cluster beside the first, for the tests of this kit; it must be in a network namespace of its own.
SUFFIX = os.environ.get("LLMOPS_CLUSTER_SUFFIX", "")

CACHE = Path.home() / ".cache" / "llmops-operator"
BIN = CACHE / f"bin-{KUBERNETES}"
IMAGES = CACHE / "images"  # the base image and what builds leave behind
STATE = CACHE / f"cluster{SUFFIX}"  # files that outlive a process: etcd, certificates, logs; `down` removes them
STORE = CACHE / f"containerd{SUFFIX}"  # image layers; kept by `down`, so that the second start imports nothing
KUBECONFIG = STATE / "kubeconfig"
RUN = Path(f"/run/llmops-operator{SUFFIX}")  # sockets, pid files, network namespaces: short paths, gone after a reboot
CONTAINERD_SOCKET = RUN / "containerd.sock"

NODE = "llmops-node"
INTERFACE = "llmops0"  # holds the node's address, so that nothing depends on, or listens on, the machine's own
NODE_IP = "10.77.0.1"
PODS = "10.77.0.0/16"
FIRST_POD, LAST_POD = "10.77.1.0", "10.77.15.254"
SERVICES = "10.78.0.0/16"
API_SERVICE_IP = "10.78.0.1"
DNS_IP = "10.78.0.10"
FAKE_PODS = "10.79.0.0/16"  # addresses of pods on KWOK's nodes: nothing answers there
DOMAIN = "cluster.local"
API = f"https://{NODE_IP}:6443"
ETCD = "http://127.0.0.1:23790"
CGROUP = (
    f"llmops-operator{SUFFIX}"  # every container of ours is below it, so `down` finds them all without asking anybody
)
MARK = "llmops-operator"  # comment on every firewall rule of ours


def log_of(name: str) -> Path:
    """The file a process of the node writes its output to."""
    return STATE / "logs" / f"{name}.log"
