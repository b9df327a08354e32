"""The pipelines in examples/ci: their own script lines, run by a shell against the cluster, exit status and all."""

from __future__ import annotations

import asyncio
import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from demo import acts, install
from demo.stage import apply, load
from tests.cluster.layout import CHECKOUT

EXAMPLES = CHECKOUT / "examples" / "ci"
SET_UP = ("install", "cluster")  # of a runner: here the command and the cluster are there
APPLIES = "kubectl apply"


def github() -> list[str]:
    steps = yaml.safe_load((EXAMPLES / "github-actions.yaml").read_text())["jobs"]["release"]["steps"]
    return [step["run"] for step in steps if "run" in step and step["name"] not in SET_UP]


def gitlab() -> list[str]:
    pipeline = yaml.safe_load((EXAMPLES / "gitlab-ci.yaml").read_text())
    jobs = [pipeline[name] for name in ("validate", "diff", "release")]
    return [line for job in jobs for part in ("script", "after_script") for line in job.get(part, ())]


class Repository:
    """Somebody's repository with a release in it, and the tools that a runner has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "manifests").mkdir()
        (folder / "bin").mkdir()
        self._tool("llmops", f'PYTHONPATH={CHECKOUT}/operator exec {sys.executable} -m llmops.cli "$@"')
        self._tool("kubectl", f'exec {os.environ.get("KUBECTL", "kubectl")} "$@"')

    def _tool(self, name: str, line: str) -> None:
        tool = self.folder / "bin" / name
        tool.write_text(f"#!/bin/sh\n{line}\n")
        tool.chmod(0o755)

    def commit(self, **changes: Any) -> None:
        release = copy.deepcopy(load("release.yaml")[0])
        release["spec"]["version"] = changes["version"]
        release["spec"]["messages"][0]["content"] = changes["system"]
        (self.folder / "manifests" / "release.yaml").write_text(yaml.safe_dump(release))

    def run(self, lines: list[str]) -> tuple[int, str]:
        """The first exit status that is not 0, and what was printed; what always runs, runs."""
        told, status = "", 0
        for line in lines:
            if status and "explain" not in line:
                continue
            done = self._line(line)
            told += done.stdout + done.stderr
            status = status or done.returncode
        return status, told

    def _line(self, line: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "NAMESPACE": "shop", "RELEASE": acts.RELEASE}
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", line],
            cwd=self.folder, env=env, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip


@pytest.fixture(scope="module")
def show(cluster: object) -> acts.Show:
    show = install.operator(fresh=True)
    acts.services(show)
    apply(*load("evaluation.yaml"))
    return show


async def test_a_pipeline_ends_as_its_gates_decide(show: acts.Show, tmp_path: Path) -> None:
    shop = Repository(tmp_path)
    shop.commit(version="1.0.0", system="{{ order_id }}")
    status, told = shop.run(github())
    assert (status, "which spec.variables does not declare" in told) == (1, True), told
    shop.commit(version="1.0.0", system="You answer for Larch, an outdoor shop.")
    status, told = shop.run(github())
    assert (status, "support-answer: new" in told, "Users are served version 1.0.0" in told) == (0, True, True), told
    shop.commit(version="2.0.0", system=acts.BETTER)
    async with acts.crowd_of(show) as crowd:
        status, told = await asyncio.to_thread(shop.run, gitlab())
    assert (status, "a new revision, since messages changes" in told) == (0, True), told
    assert crowd.tally.errors == 0
    shop.commit(version="3.0.0", system=acts.WORSE)
    status, told = await asyncio.to_thread(shop.run, gitlab())
    assert (status, "and that is decided" in told, "version 3.0.0" in told) == (1, True, True), told
    assert "was rejected" in told
