"""The programs of the own node, in the order they are started, with the settings that a test cluster needs.

Everything listens on the node's own address or on loopback, never on the machine's.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from . import certificates
from .layout import (
    API,
    BIN,
    CGROUP,
    CHECKOUT,
    CONTAINERD_SOCKET,
    DNS_IP,
    DOMAIN,
    ETCD,
    FAKE_PODS,
    HERE,
    KUBECONFIG,
    NODE,
    NODE_IP,
    PODS,
    RUN,
    SERVICES,
    STATE,
    STORE,
)  # fmt: skip
from .processes import Program

PKI = certificates.PKI
CONFIG = STATE / "config"
FAST = ("--kube-api-qps=500", "--kube-api-burst=1000")  # defaults of 20-50 make 1,000 services take minutes


def answers(url: str) -> Callable[[], bool]:
    """Whether an address answers 200; https with the cluster's own authority and the admin's certificate."""

    def ask() -> bool:
        try:
            tls = ssl.create_default_context(cafile=str(PKI / "ca.crt")) if url.startswith("https") else None
            if tls:
                tls.load_cert_chain(str(PKI / "admin.crt"), str(PKI / "admin.key"))
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=tls)] if tls else [])
            )
            with opener.open(url, timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return ask


def listens(path: Path) -> Callable[[], bool]:
    def ask() -> bool:
        with socket.socket(socket.AF_UNIX) as end:
            try:
                end.connect(str(path))
            except OSError:
                return False
            return True

    return ask


def lives() -> bool:
    return True


def etcd() -> Program:
    return Program(
        "etcd",
        (str(BIN / "etcd"), "--name=node", f"--data-dir={STATE / 'etcd'}", f"--listen-client-urls={ETCD}",
         f"--advertise-client-urls={ETCD}", "--listen-peer-urls=http://127.0.0.1:23800",
         "--initial-advertise-peer-urls=http://127.0.0.1:23800", "--initial-cluster=node=http://127.0.0.1:23800",
         "--unsafe-no-fsync", "--log-level=warn", "--auto-compaction-retention=5m", "--quota-backend-bytes=4294967296"),
        answers(f"{ETCD}/health"),
    )  # fmt: skip


def apiserver() -> Program:
    return Program(
        "kube-apiserver",
        (str(BIN / "kube-apiserver"), f"--etcd-servers={ETCD}", f"--bind-address={NODE_IP}",
         f"--advertise-address={NODE_IP}", "--secure-port=6443", f"--service-cluster-ip-range={SERVICES}",
         "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
         f"--cert-dir={RUN}", f"--client-ca-file={PKI / 'ca.crt'}",
         f"--tls-cert-file={PKI / 'apiserver.crt'}", f"--tls-private-key-file={PKI / 'apiserver.key'}",
         f"--kubelet-client-certificate={PKI / 'apiserver-to-kubelet.crt'}",
         f"--kubelet-client-key={PKI / 'apiserver-to-kubelet.key'}",
         f"--kubelet-certificate-authority={PKI / 'ca.crt'}", "--kubelet-preferred-address-types=InternalIP",
         f"--requestheader-client-ca-file={PKI / 'front-proxy-ca.crt'}",
         "--requestheader-allowed-names=front-proxy-client", "--requestheader-username-headers=X-Remote-User",
         "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
         f"--proxy-client-cert-file={PKI / 'front-proxy.crt'}", f"--proxy-client-key-file={PKI / 'front-proxy.key'}",
         "--enable-aggregator-routing=true",
         f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
         f"--service-account-key-file={PKI / 'service-accounts.key'}",
         f"--service-account-signing-key-file={PKI / 'service-accounts.key'}", "--profiling=false"),
        answers(f"{API}/readyz"),
    )  # fmt: skip


def controller_manager() -> Program:
    return Program(
        "kube-controller-manager",
        (str(BIN / "kube-controller-manager"), f"--kubeconfig={PKI / 'controller-manager.kubeconfig'}", *FAST,
         "--bind-address=127.0.0.1", f"--cert-dir={RUN}", "--leader-elect=false", "--use-service-account-credentials",
         f"--service-account-private-key-file={PKI / 'service-accounts.key'}", f"--root-ca-file={PKI / 'ca.crt'}",
         f"--cluster-signing-cert-file={PKI / 'ca.crt'}", f"--cluster-signing-key-file={PKI / 'ca.key'}",
         "--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20", "--profiling=false"),
        lives,
    )  # fmt: skip


def scheduler() -> Program:
    return Program(
        "kube-scheduler",
        (str(BIN / "kube-scheduler"), f"--kubeconfig={PKI / 'scheduler.kubeconfig'}", *FAST,
         "--bind-address=127.0.0.1", f"--cert-dir={RUN}", "--leader-elect=false", "--profiling=false"),
        lives,
    )  # fmt: skip


def containerd() -> Program:
    config = config_file("containerd.toml", CONTAINERD_TOML)
    return Program("containerd", ("containerd", "--config", str(config)), listens(CONTAINERD_SOCKET))


def kubelet() -> Program:
    config = config_file("kubelet.yaml", json.dumps(build_kubelet_config(), indent=1))
    return Program(
        "kubelet",
        (str(BIN / "kubelet"), f"--config={config}", f"--kubeconfig={PKI / 'kubelet.kubeconfig'}",
         f"--hostname-override={NODE}", f"--node-ip={NODE_IP}", f"--root-dir={STATE / 'kubelet'}",
         f"--cert-dir={RUN}"),
        answers("http://127.0.0.1:10248/healthz"),
    )  # fmt: skip


def proxy() -> Program:
    config = config_file("kube-proxy.yaml", json.dumps(build_proxy_config(), indent=1))
    return Program("kube-proxy", (str(BIN / "kube-proxy"), f"--config={config}"),
                   answers("http://127.0.0.1:10256/livez"))  # fmt: skip


def kwok() -> Program:
    config = config_file("kwok-stages.yaml", (HERE / "manifests" / "kwok-stages.yaml").read_text())
    return Program(
        "kwok",
        (str(BIN / "kwok"), f"--kubeconfig={KUBECONFIG}", f"--config={config}",
         "--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
         f"--cidr={FAKE_PODS}", "--node-ip=10.79.0.1", "--node-lease-duration-seconds=40",
         "--server-address=127.0.0.1:10347"),
        lives,
    )  # fmt: skip


def volumes() -> Program:
    """The default StorageClass's provisioner (storage.py), run by the Python that runs this."""
    return Program("volumes", (sys.executable, "-m", "tests.cluster.storage"), lives, {"PYTHONPATH": str(CHECKOUT)})


def config_file(name: str, text: str) -> Path:
    """The file's name carries what is in it, so a changed setting changes the command, and that is a restart."""
    file = CONFIG / f"{hashlib.sha256(text.encode()).hexdigest()[:10]}-{name}"
    return file if file.exists() else write(file, text)  # kube-proxy ends when its file is written to


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def build_kubelet_config() -> dict[str, object]:
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": NODE_IP,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(PKI / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(PKI / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(PKI / "kubelet-server.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,  # legacy chains that nothing here reads and nobody would remove
        "oomScoreAdj": 0,  # lowering it needs CAP_SYS_RESOURCE, which a sandboxed machine lacks
        "clusterDNS": [DNS_IP],
        "clusterDomain": DOMAIN,
        "resolvConf": str(resolv_conf()),
        "maxPods": 250,
        "readOnlyPort": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "serializeImagePulls": False,
        "imageGCHighThresholdPercent": 100,  # no image is ever evicted: no registry could bring it back
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "volumePluginDir": str(STATE / "volume-plugins"),
        "podLogsDir": str(STATE / "pods"),
        "staticPodPath": "",
    }


def resolv_conf() -> Path:
    """The machine's upstream name servers; a stub on loopback (systemd-resolved) means nothing inside a pod."""
    for file in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        if file.exists():
            return file
    return config_file("resolv.conf", "")


def build_proxy_config() -> dict[str, object]:
    untouched = {"maxPerCore": 0, "min": None, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "clientConnection": {"kubeconfig": str(PKI / "proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": PODS,
        "hostnameOverride": NODE,
        "bindAddress": NODE_IP,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        "conntrack": untouched,
        "iptables": {"minSyncPeriod": "100ms", "syncPeriod": "30s", "localhostNodePorts": False},
    }


PAUSE_IMAGE = "llmops.dev/pause:1"
CNI_CONFIG = RUN / "cni.d"
CNI_PLUGINS = next((p for p in ("/usr/lib/cni", "/opt/cni/bin") if os.path.isdir(p)), "/usr/lib/cni")
CONTAINERD_TOML = f"""version = 2
root = "{STORE}"
state = "{RUN}/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{RUN}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true  # else every sandbox dies where CAP_SYS_RESOURCE is missing
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{CNI_CONFIG}"
"""
