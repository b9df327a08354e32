"""What runs of the cluster, for a person to read."""

from __future__ import annotations

from . import choose, node, processes
from .layout import KUBECONFIG, RUN


def status(wanted: str = "auto") -> int:
    """Print it; 0 when the cluster is up."""
    which = choose.choose(wanted)
    print(f"cluster: {which}")
    if which != "node":
        return 0
    for file in sorted((RUN / "pids").glob("*.json")):
        record = processes.recorded(file)
        print(f"  {file.stem:<26}{'pid ' + str(record['pid']) if record else 'not running'}")
    if not KUBECONFIG.exists():
        print("down; `make cluster-up` starts it")
        return 1
    print(f"KUBECONFIG={KUBECONFIG}")
    print(node.kubectl("get", "nodes"), end="")
    return 0
