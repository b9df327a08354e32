"""What users asked, from the gateways that remember it, and which of it is a run's rows.

Every gateway remembers other requests, and a rating may be with another than its answer: all of them are asked. Of
what they have, each version and each rating gets its share of the sample, and at least one row, so that the few
answers that somebody disliked are among them.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmops.evaluation.rows import Fields
from llmops.evaluation.run import Run
from llmops.evaluation.source import RECORDED, Source
from llmops.web import Limits, Passing, Reply, Wrong, get

PATH = "/internal/traffic"
ID, INPUT, ANSWER, GIVEN, SAID = "llmops.id", "llmops.input", "llmops.answer", "llmops.given", "llmops.said"
"""Fields of a row that no variable of a prompt can be called."""

Asked = Mapping[str, Any]


def read(source: Source, token_file: Path, limits: Limits) -> Reply:
    """What all gateways remember of the release, as one JSON list; `rating` is up, down or none."""
    rows: list[dict[str, Any]] = []
    ratings: dict[str, str] = {}
    headers = {"Authorization": f"Bearer {token_file.read_text().strip()}", "Content-Type": "application/json"}
    asked = json.dumps({"prompt": source.address}).encode()
    for gateway in _gateways(source.endpoint):
        reply = get(f"{gateway}{PATH}", headers, limits, follow=False, posted=asked)
        if reply.status != 200:
            return reply
        told = json.loads(reply.body)
        rows += told["rows"]
        ratings |= told["ratings"]
    rows = [{**one, "rating": ratings.get(one["id"], "none")} for one in rows]
    return Reply(200, "OK", json.dumps(rows).encode())


def _gateways(endpoint: str) -> list[str]:
    where = urlsplit(endpoint)
    try:
        found = socket.getaddrinfo(where.hostname, where.port, type=socket.SOCK_STREAM)
    except OSError as problem:
        raise Passing(f"{where.hostname}: {problem}") from problem
    hosts = sorted({str(address[0]) for *_, address in found})
    return [f"{where.scheme}://{f'[{host}]' if ':' in host else host}:{where.port}" for host in hosts]


def fields(given: Fields) -> Fields:
    """How the rows are read that `chosen` writes."""
    return Fields(INPUT, given.target, ID, given.without_target)


def chosen(run: Run, source: Source, content: bytes) -> tuple[bytes, str]:
    """The run's rows as JSON Lines, oldest first, and a sentence on how many they were taken from."""
    known: Sequence[Asked] = json.loads(content)
    if not known:
        raise Wrong(
            f"the gateways remember no request of PromptRelease {source.address}: have it remember them with "
            "spec.capture: {percent: 10}, and wait for users"
        )
    fit = [one for one in known if source.version != RECORDED or one["digest"] == _version(run)]
    if not fit:
        raise Wrong(
            f"none of the {len(known)} requests of PromptRelease {source.address} that are remembered was answered by "
            "the target's version: wait for users, or ask it with spec.dataset.traffic.answers: Again"
        )
    able = [one for one in fit if all(one["variables"].get(name) is not None for name in run.needs)]
    if not able:
        raise Wrong(
            f"none of the {len(fit)} requests of PromptRelease {source.address} has all the variables that the "
            f"target's prompt requires ({', '.join(run.needs)}): wait for users who send them"
        )
    picked = sorted(sample(able, source.sample or len(able), run.key), key=lambda one: (one["at"], one["id"]))
    lacking = f"; {len(fit) - len(able)} lack a variable that the prompt requires" if len(able) < len(fit) else ""
    rows = (json.dumps(_row(run, source, one), ensure_ascii=False, sort_keys=True) for one in picked)
    return "".join(f"{row}\n" for row in rows).encode(), f"of {len(fit)} requests that are remembered{lacking}"


def _version(run: Run) -> str:
    return str((run.target.prompt or {}).get("version", ""))


def sample(known: Iterable[Asked], size: int, seed: str) -> list[Asked]:
    """`size` of them, at random but the same for the same seed, in proportion to how often each version and rating is
    there, and at least one of each as far as `size` goes."""
    chance = random.Random(seed)
    strata: dict[tuple[str, str], list[Asked]] = {}
    for one in sorted(known, key=lambda one: str(one["id"])):
        strata.setdefault((one["digest"], one["rating"]), []).append(one)
    groups = sorted(strata.values(), key=len)  # the rare first: they are not to be missed
    total, picked = sum(map(len, groups)), list[Asked]()
    for group in groups:
        left = size - len(picked)
        share = min(len(group), left, max(1, round(left * len(group) / total)))
        picked += chance.sample(group, share)
        total -= len(group)
    return picked


def _row(run: Run, source: Source, one: Asked) -> Mapping[str, Any]:
    """A variable that is called as one of our own fields is itself: it is asked with."""
    variables, said = one["variables"], one.get("question")
    about = variables.get(run.target.input_variable or "")
    row = {"rating": one["rating"], "version": one["version"], "variant": one["variant"], "at": one["at"], **variables}
    row |= {ID: one["id"], INPUT: _text(about) or said or json.dumps(variables, ensure_ascii=False)}
    if source.version == RECORDED:
        given = "\n\n".join(str(each.get("content", "")) for each in one.get("given", ()))
        return {**row, ANSWER: one["answer"], GIVEN: given}
    return {**row, SAID: said} if said else row


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value.strip() else ""
