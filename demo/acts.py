"""The acts: what is applied, what must come true, and what a person should read about it.

Every figure told is read from the objects' status or from what the users really met; every act ends in a check, so
the demo fails loudly where the product does. tests/e2e/test_main_job.py runs these same acts.
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai import OpenAI

from demo import shop
from demo.stage import Object, StageError, apply, condition, get, kubectl, load, tell, until, until_true
from demo.users import Crowd
from llmops.api import EvalJob, PromptRelease
from llmops.desk.pages import report

RELEASE = "support-answer"
BETTER = "You are the Larch support desk."
WORSE = "Answer politely and briefly."
PAGES = Path(__file__).parents[1] / "build/pages"


@dataclass
class Show:
    """What the acts share: the door's address, the key of the users, and the users' errors so far."""

    door: str
    key: str
    errors: list[str] = field(default_factory=list)
    asked: int = 0

    def client(self) -> OpenAI:
        return OpenAI(base_url=self.door, api_key=self.key, max_retries=0, timeout=30)

    def left(self, crowd: Crowd) -> None:
        """Counts a crowd that went home; the promise of the whole demo is that `errors` stays empty."""
        self.asked += crowd.tally.asked
        self.errors += crowd.tally.messages


def services(_: Show) -> None:
    apply(*shop.config_maps(), *load("services.yaml"))
    for name in ("support", "minilm"):
        until_true("llmservice", name, timeout=300)
    support = get("llmservice", "support")["status"]
    tell("applied", "LLMService support (2 replicas) and minilm (embeddings); ConfigMaps with questions and documents")
    tell("happened", f"{support['readyReplicas']} of {support['replicas']} replicas answer as model {support['model']}")


def ask(show: Show) -> None:
    question = "How do I reset my password?"
    whole = show.client().chat.completions.create(
        model="support", messages=[{"role": "user", "content": question}], temperature=0, max_tokens=64
    )
    stream = show.client().chat.completions.create(
        model="support", messages=[{"role": "user", "content": question}], temperature=0, max_tokens=64, stream=True
    )
    pieces = [c.choices[0].delta.content for c in stream if c.choices and c.choices[0].delta.content]
    answer = whole.choices[0].message.content
    tell("asked", f"“{question}” through the door, with an unmodified openai client")
    tell("answered", f"“{answer}” ({len(pieces)} pieces when streamed)")
    if "".join(pieces) != answer or not answer:
        raise StageError(f"the streamed answer differs: {''.join(pieces)!r} against {answer!r}")


def index(show: Show) -> None:
    apply(*load("index.yaml"))
    until_true("vectorindex", "faq", timeout=300)
    status = get("vectorindex", "faq")["status"]
    tell(
        "applied",
        "VectorIndex faq: a hundred documents, embedded by minilm, in Milvus; gates AnnRecall, Retrieval, RowCount",
    )
    measured = ", ".join(f"{k} {v}" for k, v in status["measured"].items())
    tell(
        "happened", f"generation {status['generation']['active']} serves {status['rows']} rows behind {status['alias']}"
    )
    tell("evidence", f"measured before anyone was served: {measured}")
    apply(*load("grounded.yaml"))
    until_true("promptrelease", "grounded-answer", timeout=180)
    prompt = {"id": "grounded-answer", "variables": {"question": "Is the lamp waterproof?"}, "echo": True}
    reply: Any = show.client().chat.completions.create(model="-", messages=[], extra_body={"prompt": prompt})
    cited = reply.model_extra["citations"]
    rendered = reply.model_extra["rendered"][0]["content"]
    tell("asked", "“Is the lamp waterproof?” of a release with indexRef faq")
    tell("rendered", rendered)
    tell("cited", ", ".join(f"[{c['n']}] {c['id']} ({float(c['score']):.2f})" for c in cited))
    if not cited or "lamp" not in rendered.lower():
        raise StageError("the rendered prompt does not carry the passage about the lamp")


def worse_index(_: Show) -> None:
    """An index that misses what is there: its gate stops it, and going back costs nothing."""
    (before,) = (one for one in load("index.yaml") if one["kind"] == "VectorIndex")
    sparse = copy.deepcopy(before)
    sparse["spec"]["index"]["parameters"] = {"M": 2, "efConstruction": 4}
    served = get("vectorindex", "faq")["status"]["generation"]["active"]
    apply(sparse)

    def stopped() -> Object | None:
        seen = get("vectorindex", "faq")
        return seen if condition(seen, "GatesPassed")["status"] == "False" else None

    seen: Object = until("the worse index stopped", stopped, 300, lambda: str(get("vectorindex", "faq")["status"]))
    tell("applied", "the same index with 2 links a vector instead of 16, to save memory")
    tell("evidence", condition(seen, "GatesPassed")["message"].split("; ")[0])
    if (still := seen["status"]["generation"]["active"]) != served:
        raise StageError(f"generation {still} is served, and {served} should still be")
    apply(before)
    until_true("vectorindex", "faq", timeout=180)
    if (after := get("vectorindex", "faq")["status"]["generation"]["active"]) != served:
        raise StageError(f"taken back, generation {after} is served, and not {served}")
    tell(
        "happened",
        f"stopped before anyone met it: generation {served} answered all along; taken back without a build",
    )


def first_release(_: Show) -> None:
    apply(*load("evaluation.yaml"), *load("release.yaml"))
    release = _until_phase({"Released"}, "1.0.0", timeout=400)
    until_true("promptrelease", RELEASE, timeout=180)  # the gateways know it too
    tell("applied", f"EvalJob support-quality ({len(shop.evaluation_rows())} rows) and PromptRelease {RELEASE} 1.0.0")
    tell("happened", "there is nothing to compare with yet: the absolute minimum decided, then it was released")
    tell("evidence", release["status"]["history"][0]["message"])


async def better(show: Show) -> None:
    """A better prompt: evaluated against the stable one, taken to a few users, promoted."""
    async with crowd_of(show) as crowd:
        change(version="2.0.0", system=BETTER)
        told, said = await _watch({"Released"}, "2.0.0", timeout=500)
    show.left(crowd)
    tell("applied", f"version 2.0.0: system message “{BETTER}”")
    tell("happened", told)
    tell("evidence", said["Evaluated"])
    tell("users", _users(crowd))
    _expect_stable("2.0.0")


async def worse(show: Show) -> None:
    """A worse prompt: its evaluation stops it before any user sees it."""
    async with crowd_of(show) as crowd:
        change(version="3.0.0", system=WORSE)
        told, said = await _watch({"Rejected"}, "3.0.0", timeout=400)
    show.left(crowd)
    tell("applied", f"version 3.0.0: system message “{WORSE}”")
    tell("happened", told)
    tell("evidence", said["Evaluated"])
    tell("users", _users(crowd))
    if crowd.tally.by_version["3.0.0"]:
        raise StageError("users met a release that failed its evaluation")
    _expect_stable("2.0.0")


async def harmful(show: Show) -> None:
    """A release that passes its evaluation and fails its users: rolled back from the evidence."""
    async with crowd_of(show) as crowd:
        change(version="4.0.0", system=BETTER, max_tokens=18)
        told, said = await _watch({"Rejected"}, "4.0.0", timeout=500)
    show.left(crowd)
    tell("applied", "version 4.0.0: the same prompt, answers cut at 18 tokens to save money")
    tell("happened", told)
    tell("evidence", f"{said['Evaluated']}\n{said['Healthy']}")
    tell("users", _users(crowd))
    if not crowd.tally.by_version["4.0.0"]:
        raise StageError("no user met the candidate, so the users' evidence cannot have decided")
    _expect_stable("2.0.0")


def pages(_: Show) -> dict[str, str]:
    """What a person would send to a colleague: the release's story, and the evaluation that stopped a version."""
    made = {RELEASE: asyncio.run(report.made(PromptRelease, "shop", [RELEASE]))}
    rejected = get("promptrelease", RELEASE)["status"]["rejected"]
    stopped = next(one["digest"][:8] for one in rejected if one["reason"] == "EvaluationFailed")
    job = f"{RELEASE}-eval-{stopped}-1"
    made[job] = asyncio.run(report.made(EvalJob, "shop", [job]))
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, page in made.items():
        (PAGES / f"{name}.html").write_text(page, encoding="utf-8")
    tell("pages", "\n".join(str(PAGES / f"{name}.html") for name in made))
    return made


def change(version: str, system: str, max_tokens: int = 64) -> None:
    """Applies the release anew with these three changed, as a person editing the file would."""
    release = copy.deepcopy(load("release.yaml")[0])
    spec = release["spec"]
    spec["version"], spec["messages"][0]["content"] = version, system
    spec["parameters"]["maxTokens"] = max_tokens
    apply(release)


def crowd_of(show: Show) -> Crowd:
    return Crowd(show.door, show.key, RELEASE, shop.questions())


def _users(crowd: Crowd) -> str:
    met = ", ".join(f"{version}: {count:,}" for version, count in sorted(crowd.tally.by_version.items()))
    return (
        f"{crowd.tally.asked:,} people asked ({met}); {crowd.tally.wrong:,} said thumbs-down; "
        f"{crowd.tally.errors} met an error"
    )


def _until_phase(phases: set[str], version: str, timeout: float) -> Object:
    def seen() -> Object | None:
        release = get("promptrelease", RELEASE)
        return release if _phase_of(release, version) in phases else None

    def last() -> str:
        return kubectl("get", "promptrelease", RELEASE, "-n", "shop", "-o", "jsonpath={.status}")

    found: Object = until(f"{RELEASE} {version} {' or '.join(sorted(phases))}", seen, timeout, last)
    return found


def _phase_of(release: Object, version: str) -> str:
    """The phase, once status speaks of this generation and so of this version."""
    status = release.get("status", {})
    current = status.get("observedGeneration", 0) >= release["metadata"]["generation"]
    return str(status.get("phase", "")) if current and release["spec"].get("version") == version else ""


async def _watch(ends: set[str], version: str, timeout: float) -> tuple[str, dict[str, str]]:
    """Follows the rollout while the users go on asking: its phases and weights as a line, and what was said last of
    Evaluated and Healthy while they spoke of this version."""
    seen: list[str] = []
    said: dict[str, str] = {"Evaluated": "", "Healthy": ""}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        release = await asyncio.to_thread(get, "promptrelease", RELEASE)
        phase = _phase_of(release, version)
        weight = release.get("status", {}).get("candidate", {}).get("weight")
        step = f"{phase} {weight}%" if phase == "Canary" else phase
        if phase and (not seen or seen[-1] != step):
            seen.append(step)
            tell("" if len(seen) > 1 else "phases", step)
        for kind in said:
            one = condition(release, kind)
            if phase and one["status"] in ("True", "False") and phase != "Released":
                said[kind] = one["message"]
        if phase in ends:
            return " → ".join(seen), said
        if loop.time() > deadline:
            raise StageError(f"{RELEASE} {version}: {' → '.join(seen)} and no further; status: {release.get('status')}")
        await asyncio.sleep(0.3)


def _expect_stable(version: str) -> None:
    stable = get("promptrelease", RELEASE)["status"]["stable"]["version"]
    if stable != version:
        raise StageError(f"stable is {stable}, and should be {version}")
