"""Fifty kills each of an index's Job, its engine and the operator that leads, on the real cluster, at moments nobody
chose, while its documents change: is a row lost or doubled?

Each round changes a third of the documents and takes away one pod of each, by force, at a random moment of the build;
then the engine is asked, row by row, for what is in the generation that is served.

    python3 -m bench faults
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from typing import Any

from demo import install
from demo.stage import NAMESPACE, apply, get, kubectl, load, until, until_true
from pymilvus import MilvusClient, MilvusException

from bench.index import say
from bench.knowledge import address, library, shard
from bench.texts import paragraphs

KILLS = int(os.environ.get("LLMOPS_BENCH_KILLS", "50"))
MANY, SPAN = 320, 12.0  # passages; seconds after a change in which something is killed
PARTS = {
    "job": (NAMESPACE, "llmops.dev/owner-name=library,llmops.dev/part=build"),
    "engine": (NAMESPACE, "llmops.dev/owner-name=library,llmops.dev/part=engine"),
    "operator": (install.SYSTEM, ""),
}
Object = dict[str, Any]


def kill(part: str) -> bool:
    """By force; False where there is none at this moment."""
    namespace, label = PARTS[part]
    if part == "operator":
        names = [get("lease", "llmops-operator", namespace)["spec"]["holderIdentity"].split("_")[0]]
    else:
        found = json.loads(kubectl("get", "pods", "-n", namespace, "-l", label, "-o", "json"))["items"]
        names = [one["metadata"]["name"] for one in found if one["status"]["phase"] == "Running"]
    for name in names[:1]:
        kubectl("delete", "pod", name, "-n", namespace, "--grace-period=0", "--force", "--wait=false",
                "--ignore-not-found")  # fmt: skip
    return bool(names)


def after(seconds: float, part: str, killed: dict[str, int]) -> None:
    """At that moment, or as soon as there is one to kill within the span."""
    time.sleep(seconds)
    end = time.monotonic() + SPAN
    while time.monotonic() < end:
        if kill(part):
            killed[part] += 1
            return
        time.sleep(0.1)


def stored() -> dict[str, list[str]]:
    """The texts of each row of the generation that is served, by its id: one each, if nothing is doubled."""
    active = (get("vectorindex", "library").get("status") or {}).get("generation") or {}
    found: dict[str, list[str]] = {}
    try:
        client = MilvusClient(uri=address("library-index-engine", 19530), timeout=5)
        pages = client.query_iterator(active["name"], batch_size=1000, output_fields=["id", "text"])
        while page := pages.next():
            for row in page:
                found.setdefault(row["id"], []).append(row["text"])
        pages.close()
        client.close()
    except (MilvusException, KeyError):  # it is away, or nothing is served yet
        return {}
    return found


def round_(number: int, rows: list[dict[str, str]], chance: random.Random, killed: dict[str, int]) -> float:
    """Seconds until what is served is what is wanted."""
    for row in chance.sample(rows, MANY // 3):
        row["text"] = f"{row['text'].rpartition(' (edition ')[0] or row['text']} (edition {number})"
    killers = [
        threading.Thread(target=after, args=(chance.random() * SPAN, part, killed))
        for part in PARTS if killed[part] < KILLS
    ]  # fmt: skip
    started = time.monotonic()
    apply(*(shard(at, rows) for at in range(8)))
    for one in killers:
        one.start()
    for one in killers:
        one.join()
    wanted = {f"s{at}/{row['id']}#0": [row["text"]] for at in range(8) for row in rows[at::8]}
    until(f"round {number}", lambda: stored() == wanted, 400, lambda: _differs(wanted))
    return time.monotonic() - started


def _differs(wanted: dict[str, list[str]]) -> str:
    found = stored()
    lost, doubled = wanted.keys() - found.keys(), [name for name, texts in found.items() if len(texts) > 1]
    return f"{len(found)} rows, {len(lost)} lost, {len(doubled)} doubled; {get('vectorindex', 'library')['status']}"


def main() -> None:
    rows, chance, killed = paragraphs(MANY), random.Random(29), dict.fromkeys(PARTS, 0)
    install.operator(fresh=True)
    apply(*[one for one in load("services.yaml") if one["metadata"]["name"] == "minilm"])
    until_true("llmservice", "minilm", timeout=240)
    apply(*(shard(number, rows) for number in range(8)), library({"M": 16, "efConstruction": 200}))
    until_true("vectorindex", "library", "Ready", 300)
    took = list[float]()
    while min(killed.values()) < KILLS and len(took) < 3 * KILLS:
        took.append(round_(len(took) + 1, rows, chance, killed))
        print(f"· round {len(took)}: {took[-1]:.0f} s, killed so far {killed}", flush=True)
    until_true("vectorindex", "library", "Ready", 120)
    say(bench="faults", killed=killed, rounds=len(took), passages=MANY, rows_lost=0, rows_doubled=0,
        median_round_s=sorted(took)[len(took) // 2], longest_round_s=max(took))  # fmt: skip
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


if __name__ == "__main__":
    main()
