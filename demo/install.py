"""Puts the operator on the cluster as a person would: the chart, rendered by Helm, applied; a namespace and a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cluster import choose
from tests.cluster.layout import BIN, KUBERNETES

from demo.acts import Show
from demo.stage import NAMESPACE, StageError, apply, kubectl, tell, until
from llmops.desk import keys

ROOT = Path(__file__).parents[1]
SYSTEM = "llmops-system"


def operator(fresh: bool = True) -> Show:
    """Everything before the first model: operator and door running, an empty namespace, a key for its users."""
    os.environ["KUBECONFIG"] = str(choose.up())
    if (BIN / "kubectl").exists():
        os.environ["KUBECTL"] = str(BIN / "kubectl")
    tell("cluster", _nodes())
    if fresh:
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", "--timeout=300s")
    install()
    tell("applied", "charts/llmops-operator: two operators (one leads), two gateways; a namespace shop")
    key = _namespace_and_key()
    door = address()
    tell("door", f"{door}, with a key for team-shop (only its hash is in the cluster)")
    return Show(door=door, key=key)


def install(extra: tuple[str, ...] = ()) -> None:
    """Applies the chart with this checkout's images, and waits until both Deployments are available."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    rendered = render("--set", "images.tag=dev", *extra)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=rendered)
    for name in ("llmops-operator", "llmops-gateway"):
        # the tag stays the same when the image is built anew
        kubectl("rollout", "restart", f"deployment/{name}", "-n", SYSTEM)
    for name in ("llmops-operator", "llmops-gateway"):
        kubectl("rollout", "status", f"deployment/{name}", "-n", SYSTEM, "--timeout=300s")


def render(*options: str) -> str:
    """The chart, as `helm template` prints it; without options what manifests/install.yaml is."""
    helm = str(BIN / "helm") if (BIN / "helm").exists() else "helm"
    chart = str(ROOT / "charts" / "llmops-operator")
    command = [helm, "template", "llmops", chart, "--namespace", SYSTEM, "--kube-version", KUBERNETES, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"helm template: {done.stderr.strip()}")
    return done.stdout


def address() -> str:
    """The door's address for this machine: on the own node a Service's address is reachable as it is."""
    given = os.environ.get("LLMOPS_DOOR")
    if given:
        return given
    ip = kubectl("get", "service", "llmops-gateway", "-n", SYSTEM, "-o", "jsonpath={.spec.clusterIP}")
    if choose.choose() == "node":
        return f"http://{ip}/v1"
    return _forwarded()


def _forwarded() -> str:
    forward = subprocess.Popen(
        [os.environ.get("KUBECTL", "kubectl"), "port-forward", "-n", SYSTEM, "service/llmops-gateway", ":80"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert forward.stdout is not None
    line = forward.stdout.readline()  # Forwarding from 127.0.0.1:PORT -> 8080
    return f"http://127.0.0.1:{line.split(':')[1].split()[0]}/v1"


def _namespace_and_key() -> str:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    until("the namespace's default service account", lambda: "default" in kubectl(
        "get", "serviceaccounts", "-n", NAMESPACE, "-o", "name"), timeout=60)  # fmt: skip
    key = keys.new_key(NAMESPACE, "team-shop")
    apply(keys.manifest(key, "team-shop", NAMESPACE, ["*", "prompt:*"]))
    return key


def _nodes() -> str:
    """The cluster in a line: its version, its nodes, and which of them only pretend to have GPUs."""
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    fake = sum(node["metadata"].get("labels", {}).get("type") == "kwok" for node in nodes)
    real = next(node for node in nodes if node["metadata"].get("labels", {}).get("type") != "kwok")
    told = f"Kubernetes {real['status']['nodeInfo']['kubeletVersion']}, {len(nodes)} nodes"
    return told + (f", {fake} of them pretending to have GPUs" if fake else "")


def look_further() -> str:
    kubectl_path = os.environ.get("KUBECTL", "kubectl")
    told = f"PYTHONPATH=operator {sys.executable} -m llmops.cli explain prel support-answer -n {NAMESPACE}"
    return f"""
The cluster is still up. To look further:
  export KUBECONFIG={os.environ["KUBECONFIG"]}
  alias kubectl={kubectl_path}
  kubectl get llmops -n {NAMESPACE}                         everything, with what it says of itself
  kubectl describe prel support-answer -n {NAMESPACE}          the release: conditions, evidence, events
  kubectl get revisions -n {NAMESPACE}                      every version that was tried, and what became of it
  {told}
                                                   the decision in words, with the numbers to recompute it
  make demo-down                                   removes the cluster and everything it started"""
