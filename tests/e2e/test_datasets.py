"""Rows from a claim, the web and a bucket, read by the real Job; and a schedule whose minutes come by themselves."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

from tests.e2e.places import CLAIM, secret, serve
from tests.e2e.test_evaljob import ROWS, Object, client, evaljob, model, said, status, until, world

from llmops.kube.client import Client
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB

__all__ = ["client", "world"]
FEW = [{**row, "topic": "even" if at % 2 == 0 else "odd"} for at, row in enumerate(ROWS[:20])]
JSONL = "".join(json.dumps(row) + "\n" for row in FEW)
EVERY = ("configMapRef", "inline", "http", "pvc", "s3")


def table() -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["id", "question", "answer", "topic"])
    writer.writeheader()
    writer.writerows({name: row[name] for name in ("id", "question", "answer", "topic")} for row in FEW)
    return text.getvalue()


async def files(client: Client, cluster: Cluster, namespace: str) -> str:
    """A claim with the files on it, and a pod that has them on the web (8000) and in a bucket (9000); its address."""
    data = {"qa.csv": table(), "broken.csv": table() + 'x,"Two\nlines?"\r\n', "qa.jsonl": JSONL}
    await client.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "data": data,
                                     "metadata": {"name": "files", "namespace": namespace}})  # fmt: skip
    fill = "cp /files/qa.csv /files/broken.csv /claim"
    return await serve(client, cluster, namespace, {"configMap": {"name": "files"}}, fill)


def dataset(**source: Any) -> Object:
    """As a merge patch: the one source, and no other."""
    return {**dict.fromkeys(EVERY), **source, "slices": ["topic"]}


async def test_rows_come_from_a_claim_the_web_and_a_bucket_and_are_paid_for_once(
    client: Client, world: Cluster, namespace: str
) -> None:
    target, host = await asyncio.gather(model(client, world, namespace, "good"), files(client, world, namespace))
    ends = lambda verdict: (s := status(world, namespace)).get("verdict") == verdict and s  # noqa: E731

    # a broken row is told by its number before anybody is asked
    broken = {"pvc": {"claim": CLAIM, "path": "/broken.csv"}, "slices": ["topic"],
              "fields": {"input": "question", "target": "answer"}}  # fmt: skip
    job = evaljob(namespace, target={"url": target, "model": "support"}, dataset=broken,
                  thresholds=[{"metric": "exact_match", "min": "0.80"}])  # fmt: skip
    await client.create(EVAL_JOB, job)
    await until(lambda: said(world, namespace, "DatasetValid")[0] == "False")
    assert "/broken.csv on claim files: row 22: 2 cells, where the header has 4" in said(world, namespace, "Ready")[1]
    assert status(world, namespace)["phase"] == "Failed"

    # a table on a claim, with its slices
    await client.patch(EVAL_JOB, namespace, "quality",
                       {"spec": {"dataset": dataset(pvc={"claim": CLAIM, "path": "/qa.csv"})}})  # fmt: skip
    found = await until(lambda: ends("Pass"))
    assert said(world, namespace, "DatasetValid") == ("True", "20 rows")
    assert found["dataset"]["rows"] == 20
    assert {one["value"] for one in found["slices"]} == {"even", "odd"}

    # JSON Lines on the web
    first = found["dataset"]["sha256"]
    await client.patch(EVAL_JOB, namespace, "quality",
                       {"spec": {"dataset": dataset(http={"url": f"http://{host}:8000/qa.jsonl"})}})  # fmt: skip
    found = await until(lambda: (s := ends("Pass")) and s["dataset"]["sha256"] != first and s)
    measured, web = found["metrics"], found["results"]

    # the same rows in a bucket: a wrong key is told, the right one finds that they were measured before
    await secret(client, namespace, "right")
    await secret(client, namespace, "wrong", "wrong")
    bucket = {"uri": "s3://models/qa.jsonl", "endpoint": f"http://{host}:9000"}
    wrong = dataset(s3={**bucket, "credentialsSecretRef": {"name": "wrong"}})
    await client.patch(EVAL_JOB, namespace, "quality", {"spec": {"dataset": wrong}})
    await until(lambda: "answers 403 SignatureDoesNotMatch: the key in Secret wrong" in said(
        world, namespace, "DatasetValid")[1])  # fmt: skip
    right = dataset(s3={**bucket, "credentialsSecretRef": {"name": "right"}})
    await client.patch(EVAL_JOB, namespace, "quality", {"spec": {"dataset": right}})
    found = await until(lambda: ends("Pass"))
    assert f"the results are those of {web}" in said(world, namespace, "Complete")[1]
    assert (found["metrics"], found["dataset"]["rows"]) == (measured, 20)


async def test_a_schedule_runs_the_same_rows_again_and_shows_the_trend(
    client: Client, world: Cluster, namespace: str
) -> None:
    target = await model(client, world, namespace, "good")
    job = evaljob(namespace, target={"url": target, "model": "support"}, schedule="* * * * *",
                  dataset={"inline": FEW[:5], "fields": {"input": "question", "target": "answer"}},
                  thresholds=[{"metric": "exact_match", "min": "0.40"}])  # fmt: skip
    await client.create(EVAL_JOB, job)
    found = await until(lambda: (s := status(world, namespace)).get("verdict") and s)
    assert found["nextRun"].endswith(":00Z")
    turned = "lastScheduleTime" in found  # a minute that ended before the first run was told of began another
    keys = {found["runKey"]}
    for times in (1, 2):
        found = await until(lambda: len((s := status(world, namespace)).get("trend") or []) == times and s, 300)  # noqa: B023
        keys.add(found["runKey"])
    assert len(keys) == (2 if turned else 3)
    assert [point["verdict"] for point in found["trend"]] == ["Pass", "Pass"]
    assert found["trend"][0]["metrics"] == [{"name": "exact_match", "value": "1.0000"}]
    assert found["trend"][0]["finishedAt"] < found["trend"][1]["finishedAt"]
    assert found["lastScheduleTime"] < found["nextRun"]
    assert found["verdict"] == "Pass"

    await client.patch(EVAL_JOB, namespace, "quality", {"spec": {"suspend": True}})
    await until(lambda: "nextRun" not in status(world, namespace), 60)
