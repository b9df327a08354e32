"""Where progress, results and failure go: the run's ConfigMap in a cluster, or a folder by hand and in tests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol


class Report(Protocol):
    """Takes one named text; writing it again replaces it."""

    def write(self, name: str, text: str) -> None:
        """Keep `text` under `name`."""


class Folder:
    """A file a name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str) -> None:
        """Keep `text` in a file; a reader sees the old or the new, never half."""
        part = self.path / f".{name}.part"
        part.write_text(text)
        part.replace(self.path / name)


class InConfigMap:
    """A data key a name, in the one ConfigMap that the pod's Role lets it patch."""

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace, self.name = namespace, name

    def write(self, name: str, text: str) -> None:
        """Merge-patch one data key, on a connection of its own: the caller's thread may have no event loop."""
        asyncio.run(self._patch(name, text))

    async def _patch(self, name: str, text: str) -> None:
        from llmops.kube.client import Client
        from llmops.kube.resources import CONFIG_MAP

        client = await Client.connect()
        try:
            await client.patch(CONFIG_MAP, self.namespace, self.name, {"data": {name: text}})
        finally:
            await client.close()
