"""Where progress, outcome and failure go: the Job's ConfigMap in a cluster, or a folder by hand and in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Report(Protocol):
    """Takes one named text, which writing it again replaces; and has what others wrote there."""

    async def write(self, name: str, text: str) -> None: ...

    async def read(self, name: str) -> str:
        """Empty where there is none."""


class Folder:
    """A file a name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    async def write(self, name: str, text: str) -> None:
        part = self.path / f".{name}.part"
        part.write_text(text)
        part.replace(self.path / name)

    async def read(self, name: str) -> str:
        path = self.path / name
        return path.read_text() if path.exists() else ""


class InConfigMap:
    """A data key a name, in the one ConfigMap that the pod's Role lets it patch."""

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace, self.name = namespace, name

    async def write(self, name: str, text: str) -> None:
        from llmops.kube.client import Client
        from llmops.kube.resources import CONFIG_MAP

        async with await Client.connect() as client:
            await client.patch(CONFIG_MAP, self.namespace, self.name, {"data": {name: text}})

    async def read(self, name: str) -> str:
        from llmops.kube.client import Client
        from llmops.kube.resources import CONFIG_MAP

        async with await Client.connect() as client:
            found = await client.get(CONFIG_MAP, self.namespace, self.name)
        return str((found.get("data") or {}).get(name, ""))
