"""Python that people bring along, in its own container on the real cluster: refused, allowed, and what it can see."""

from __future__ import annotations

from dataclasses import replace

from tests.e2e.test_evaljob import ROWS, Object, client, dataset, evaljob, model, said, status, until, world

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB

__all__ = ["client", "world"]
CITES = "def score(row, answer):\n    return answer.strip() == row['answer'].strip()\n"
SEES = """
import os, pathlib
def score(row, answer):
    hidden = [one for one in ("/var/run/secrets", "/var/run/llmops", "/etc/llmops", "/logs") if os.path.exists(one)]
    told = [name for name in os.environ if "TOKEN" in name or "KUBERNETES" in name]
    try:
        pathlib.Path("/app/x").write_text("x")
        hidden.append("a writable root")
    except OSError:
        pass
    if hidden or told or os.getuid() != 65533:
        raise RuntimeError(f"{hidden} {told} {os.getuid()}")
    return 1.0
"""


async def test_a_scorer_is_refused_then_allowed_and_sees_nothing_that_is_not_its_own(
    client: Client, world: Cluster, namespace: str
) -> None:
    target = await model(client, world, namespace, "good")
    await client.create(CONFIG_MAP, dataset(namespace, ROWS[:20]))
    files: Object = {"cites.py": CITES, "sees.py": SEES}
    await client.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "data": files, "metadata": {
        "name": "scorers", "namespace": namespace, "labels": {"llmops.dev/watch": "true"}}})  # fmt: skip
    metrics = [
        {"name": name, "type": "Custom", "scorer": {"configMapRef": {"name": "scorers", "key": f"{name}.py"}}}
        for name in ("cites", "sees")
    ]
    await client.create(EVAL_JOB, evaljob(
        namespace, target={"url": target, "model": "support"}, metrics=[{"name": "exact_match"}, *metrics],
        thresholds=[{"metric": "sees", "min": "0.50"}]))  # fmt: skip
    await until(lambda: "LLMOPS_CUSTOM_SCORERS=true" in said(world, namespace, "Ready")[1])

    world.settings = replace(world.settings, custom_scorers=True)
    await client.patch(EVAL_JOB, namespace, "quality", {"spec": {"concurrency": 4}})
    found = await until(lambda: (s := status(world, namespace)).get("verdict") and s)
    assert found["verdict"] == "Pass", said(world, namespace, "ThresholdsMet")
    told = {one["name"]: one for one in found["metrics"]}
    assert {one["n"] for one in told.values()} == {20}
    assert told["cites"]["value"] == told["exact_match"]["value"]

    # an edited file runs again, and one that raises is told in its own words
    await client.patch(CONFIG_MAP, namespace, "scorers", {"data": {"sees.py": "def score(row, answer):\n    1 / 0\n"}})
    await until(lambda: status(world, namespace).get("verdict") == "Error")
    assert "20 answers have no sees" in said(world, namespace, "ThresholdsMet")[1]
    assert "ZeroDivisionError" in said(world, namespace, "ThresholdsMet")[1]
