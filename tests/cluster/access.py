"""What a test holds of the cluster: the kubeconfig's path and kubectl, with answers as objects."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .layout import BIN, CHECKOUT

Object = dict[str, Any]


class KubectlFailed(Exception):
    """kubectl ended with an error; the message is the one a person would see."""


@dataclass(frozen=True)
class Access:
    """One cluster, reached with kubectl."""

    kubeconfig: Path
    kind: str  # current, kind or node

    def program(self, name: str) -> str:
        """The cluster's own, where it brought one."""
        return str(BIN / name) if (BIN / name).exists() else name

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        command = (self.program("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments)
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
        if done.returncode:
            raise KubectlFailed(done.stderr.strip())
        return done.stdout

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        where = (f"--namespace={namespace}",) if namespace else ()
        found: Object = json.loads(self.kubectl("get", kind, name, *where, "-o", "json"))
        return found

    def apply(self, *objects: Object) -> None:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=listed)

    def teach_our_kinds(self) -> None:
        """This checkout's CustomResourceDefinitions, applied and served."""
        files = str(CHECKOUT / "crds")
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", files)
        self.kubectl("wait", "--for=condition=Established", "--timeout=120s", "-f", files)

    def export(self) -> None:
        """Make this the cluster of every client in this process and its children."""
        os.environ["KUBECONFIG"] = str(self.kubeconfig)
