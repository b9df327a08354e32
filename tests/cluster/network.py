"""Pod and Service addresses that the machine itself can reach, and no trace of them after `down`.

Every pod has a veth pair to the host and the host routes between them (the CNI plugin `ptp`), so all traffic passes
the host's firewall: Services work from pods and from the host, and policies could be enforced there. An empty bridge
holds the node's address and takes the route to Service addresses (kube-proxy rewrites them before they leave). The
rest of our ranges is unreachable, never sent to the machine's own network.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from pathlib import Path

from .components import CNI_CONFIG, write
from .layout import BIN, FAKE_PODS, FIRST_POD, INTERFACE, LAST_POD, MARK, NODE_IP, PODS, RUN, SERVICES

RULES = (
    ("nat", ("POSTROUTING", "-s", PODS, "!", "-d", PODS, "-m", "comment", "--comment", MARK, "-j", "MASQUERADE")),
    ("filter", ("FORWARD", "-s", PODS, "-m", "comment", "--comment", MARK, "-j", "ACCEPT")),
    ("filter", ("FORWARD", "-d", PODS, "-m", "comment", "--comment", MARK, "-j", "ACCEPT")),
)
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
FORWARDING_BEFORE = RUN / "ip_forward.before"


class AddressesTaken(Exception):
    """The machine already routes one of our ranges elsewhere."""


def ensure() -> None:
    """Interface, routes, firewall rules and the CNI configuration; what is there already is left alone."""
    if not succeeds("ip", "link", "show", INTERFACE):
        refuse_overlap()
        run("ip", "link", "add", INTERFACE, "type", "bridge")
        run("ip", "address", "add", f"{NODE_IP}/32", "dev", INTERFACE)
        run("ip", "link", "set", INTERFACE, "up")
    run("ip", "route", "replace", SERVICES, "dev", INTERFACE, "src", NODE_IP)
    for span in (PODS, FAKE_PODS):
        run("ip", "route", "replace", "unreachable", span)
    if not FORWARDING_BEFORE.exists():
        write(FORWARDING_BEFORE, FORWARDING.read_text())
    FORWARDING.write_text("1")
    for table, rule in RULES:
        if not succeeds("iptables", "-w", "-t", table, "-C", *rule):
            run("iptables", "-w", "-t", table, "-I", *rule)
    write(CNI_CONFIG / "10-llmops.conflist", json.dumps(build_cni(), indent=1))


def build_cni() -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(RUN / "addresses"),
        "ranges": [[{"subnet": PODS, "rangeStart": FIRST_POD, "rangeEnd": LAST_POD, "gateway": NODE_IP}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {"cniVersion": "0.4.0", "name": "llmops", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}]}


def refuse_overlap() -> None:
    routes = json.loads(subprocess.run(("ip", "-j", "route"), check=True, capture_output=True, text=True).stdout)
    for route in routes:
        if route["dst"] == "default" or route.get("dev") == INTERFACE or route.get("type") == "unreachable":
            continue
        for span in (PODS, SERVICES, FAKE_PODS):
            if ipaddress.ip_network(route["dst"]).overlaps(ipaddress.ip_network(span)):
                raise AddressesTaken(
                    f"this machine routes {route['dst']} to {route.get('dev')}, and the test cluster uses {span}; "
                    "change the ranges in tests/cluster/layout.py"
                )


def remove() -> None:
    """Take back everything `ensure`, the CNI plugin and kube-proxy left in the kernel."""
    if (BIN / "kube-proxy").exists() and succeeds("ip", "link", "show", INTERFACE):
        succeeds(str(BIN / "kube-proxy"), "--cleanup")
        remove_firewall_chain("KUBE-FIREWALL")  # the one chain that --cleanup forgets
    for table, rule in RULES:
        while succeeds("iptables", "-w", "-t", table, "-D", *rule):
            pass
    for span in (PODS, FAKE_PODS):
        succeeds("ip", "route", "del", "unreachable", span)
    succeeds("ip", "link", "del", INTERFACE)
    if FORWARDING_BEFORE.exists():
        FORWARDING.write_text(FORWARDING_BEFORE.read_text())


def remove_firewall_chain(chain: str) -> None:
    for parent in ("INPUT", "OUTPUT"):
        succeeds("iptables", "-w", "-D", parent, "-j", chain)
    succeeds("iptables", "-w", "-F", chain)
    succeeds("iptables", "-w", "-X", chain)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
