"""The panel's tasks for Inspect: who judges, compares, embeds or is probed, and the mark read off each sample."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import openai
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, ModelOutput
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from llmops import geval
from llmops.evaluation.rows import Row
from llmops.evaluation.run import Arm, Typed
from llmops.evaluation.runner import door, echo, pairwise
from llmops.evaluation.runner.answers import Answer
from llmops.evaluation.runner.progress import Progress
from llmops.evaluation.runner.task import arm_model, asking
from llmops.geval import Judge, Unreadable

SCORER = "mark"
FORM_TOKENS, STEPS_TOKENS = 256, 1024
TOPS: tuple[int | None, ...] = (20, 5, None)
"""How many alternatives to a token are asked for; who refuses that many is asked for fewer, then for none."""

Single = Sequence[tuple[Row, Answer]]
Mark = Callable[[TaskState], Awaitable[tuple[float, dict[str, Any]]]]
"""Asks about one sample -> its mark, and what else is kept of it; Unreadable where there is none."""


class Panelist:
    """A model that is asked to judge. What it refuses (logprobs) it is not asked again in this process."""

    def __init__(self, typed: Typed, progress: Progress) -> None:
        assert typed.arm is not None
        self.model = arm_model(typed.arm, progress)
        self.tops = list(TOPS)

    async def ask(self, text: str, tokens: int, temperature: float = 0) -> ModelOutput:
        """One question, with the probabilities of what could have been said where the server gives them."""
        while True:
            tops = self.tops[0]
            config = GenerateConfig(
                max_tokens=tokens, temperature=temperature, logprobs=tops is not None, top_logprobs=tops
            )
            try:
                return await self.model.generate([ChatMessageUser(content=text)], config=config)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                if tops is None:
                    raise
                if self.tops[0] == tops:  # others may have found out meanwhile
                    self.tops.pop(0)


def steps_task(typed: Typed, asked: Judge, progress: Progress) -> Task:
    """A judge writes down how it will go about it; the log keeps it, so that a resumed run goes on with the same."""
    panelist = Panelist(typed, progress)

    @solver(name="steps")
    def write() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            state.output = await panelist.ask(geval.ask_steps(asked), STEPS_TOKENS)
            state.output.completion = geval.without_thoughts(state.output.completion)
            return state

        return solve

    samples = [Sample(id="steps", input=geval.ask_steps(asked))]
    return Task(name=f"steps of {typed.name}", dataset=MemoryDataset(samples), solver=write(), model=panelist.model)


def judge_task(name: str, typed: Typed, steps: str, answered: Single, key: str, progress: Progress) -> Task:
    """Every answer of one arm before one judge."""
    asked, panelist = Judge.of(typed.name, typed.settings), Panelist(typed, progress)

    async def mark(state: TaskState) -> tuple[float, dict[str, Any]]:
        more, given = state.metadata, ""
        if typed.name in geval.READS_GIVEN:
            given = more["given"]
            if not given:
                raise Unreadable(f"what the model was given is not known: {typed.name} needs promptRef as its target")
        form = geval.ask_score(asked, steps, state.input_text, more["answer"], more["targets"], given, more["fence"])
        temperature = 0 if asked.repeat == 1 else 1  # asked alike, it would say the same again
        scores: list[float] = []
        for _ in range(asked.repeat):
            state.output = await panelist.ask(form, FORM_TOKENS, temperature)
            scores.append(geval.read_score(asked, state.output.completion, _tokens(state.output)))
        return asked.share(sum(scores) / len(scores)), {"scores": scores}

    return _task(name, [_sample(row, answer, key) for row, answer in answered], panelist.model, mark, progress)


def pairwise_task(
    name: str, typed: Typed, both: Sequence[tuple[Row, Answer, Answer]], key: str, progress: Progress
) -> Task:
    """Target's and baseline's answers to the same rows, in both orders."""
    panelist, rubric = Panelist(typed, progress), str(typed.settings["rubric"])

    async def mark(state: TaskState) -> tuple[float, dict[str, Any]]:
        more = state.metadata
        said = []
        for first, second in (("answer", "other"), ("other", "answer")):
            text = pairwise.ask(rubric, state.input_text, more[first], more[second], more["targets"], more["fence"])
            state.output = await panelist.ask(text, FORM_TOKENS)
            said.append(pairwise.read(state.output.completion))
        return pairwise.outcome(said[0], said[1]), {"said": said}

    samples = [_sample(row, answer, key, other=other.text) for row, answer, other in both]
    return _task(name, samples, panelist.model, mark, progress)


def similarity_task(name: str, typed: Typed, answered: Single, progress: Progress) -> Task:
    """Every answer of one arm against its targets, by their embeddings."""
    assert typed.arm is not None
    model = arm_model(typed.arm, progress)

    async def mark(state: TaskState) -> tuple[float, dict[str, Any]]:
        if not state.metadata["answer"].strip():
            return 0.0, {}  # embedding services refuse an empty text; it is like nothing
        body = {"similarity": {"answer": state.metadata["answer"], "targets": state.metadata["targets"]}}
        state.output = await model.generate(state.messages, config=GenerateConfig(extra_body=body))
        return float((state.output.metadata or {})["cosine"]), {}

    return _task(name, [_sample(row, answer, "") for row, answer in answered], model, mark, progress)


def topics_task(name: str, typed: Typed, answered: Single, progress: Progress) -> Task:
    """What every question is about."""
    assert typed.arm is not None
    model = arm_model(typed.arm, progress)

    async def mark(state: TaskState) -> tuple[float, dict[str, Any]]:
        body = {"embedding": state.input_text}
        state.output = await model.generate(state.messages, config=GenerateConfig(extra_body=body))
        return 1.0, {"vector": (state.output.metadata or {})["vector"]}

    return _task(name, [_sample(row, answer, "") for row, answer in answered], model, mark, progress)


def vectors_of(log: EvalLog | None) -> dict[str, Sequence[float]]:
    """The questions that could be embedded, by row."""
    told = {str(one.id): one.metadata.get("told") or {} for one in (log.samples if log else None) or []}
    return {key: one["vector"] for key, one in told.items() if "vector" in one}


def likelihood_task(name: str, arm: Arm, answered: Single, progress: Progress) -> Task:
    """How probable the target holds the right answers; read off the log's samples (echo.read)."""
    model = arm_model(arm, progress)
    assert isinstance(model.api, door.Door)
    texts = [(row.id, *echo.text(row.input, row.targets[0])) for row, _ in answered]
    return Task(
        name=name,
        dataset=MemoryDataset([_echoed(*one) for one in texts]),
        solver=_echoing(model, progress),
        model=model,
    )


def probe_task(role: str, arm: Arm, progress: Progress) -> Task:
    """Whether an arm echoes at all."""
    model = arm_model(arm, progress)
    samples = [_echoed(str(at), probe, 1) for at, probe in enumerate(echo.PROBES)]
    solve = _echoing(model, progress, counted=False)
    return Task(name=f"probe of the {role}", dataset=MemoryDataset(samples), solver=solve, model=model)


def _echoed(name: str, prompt: str, begin: int) -> Sample:
    return Sample(id=name, input=prompt, metadata={"prompt": prompt, "begin": begin})


@solver(name="echoing")
def _echoing(model: Model, progress: Progress, counted: bool = True) -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        assert isinstance(model.api, door.Door)
        config = GenerateConfig(extra_body={"likelihood": state.metadata["prompt"]})
        async with asking(model.api, progress):
            state.output = await model.generate(state.messages, config=config)
        if counted:
            progress.answered()
        return state

    return solve


def _sample(row: Row, answer: Answer, key: str, **more: str) -> Sample:
    # the mark of the lines: not to be guessed by who wrote the answer, the same when the run is resumed
    fence = hashlib.sha256(f"{key}/{row.id}".encode()).hexdigest()[:12]
    metadata = {"answer": answer.text, "targets": list(row.targets), "given": answer.given, "fence": fence, **more}
    return Sample(id=row.id, input=row.input, target=list(row.targets), metadata=metadata)


def _task(name: str, samples: list[Sample], model: Model, mark: Mark, progress: Progress) -> Task:
    assert isinstance(model.api, door.Door)
    api = model.api

    @solver(name="seat")
    def ask() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            async with asking(api, progress):
                try:
                    found, kept = await mark(state)
                    told = {"mark": found, "why": "", **kept}
                except Unreadable as why:
                    told = {"mark": None, "why": str(why)}
            progress.answered()
            state.metadata["told"] = told
            return state

        return solve

    return Task(name=name, dataset=MemoryDataset(samples), solver=ask(), scorer=_read_off(), model=model)


@scorer(metrics=[mean()], name=SCORER)
def _read_off() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        told = state.metadata["told"]
        value = math.nan if told["mark"] is None else told["mark"]
        return Score(value=value, explanation=told["why"] or None, metadata=told)

    return score


def mark_of(sample: EvalSample) -> tuple[float | None, str]:
    """A sample's mark, or why it has none."""
    if sample.error is not None:
        return None, sample.error.message[:300]
    told = sample.metadata.get("told") or {}
    mark = told.get("mark")
    return (None if mark is None else float(mark)), str(told.get("why") or "not marked")


def scores_of(sample: EvalSample) -> list[float]:
    """A judge's scores of one answer, on its scale."""
    return [float(one) for one in (sample.metadata.get("told") or {}).get("scores") or []]


def _tokens(output: ModelOutput) -> list[dict[str, Any]]:
    told = output.choices[0].logprobs
    return [
        {"token": one.token, "tops": {top.token: top.logprob for top in one.top_logprobs or []}}
        for one in (told.content if told else [])
    ]
