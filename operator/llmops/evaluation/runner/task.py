"""Inspect's task for one arm: a row is a sample, asked as the arm says, marked by our metrics.

The two arms of a comparison are two tasks over the same rows, one after the other, so that `concurrency` is what the
target sees. Temperature is 0 for a bare service; a prompt release brings its own parameters.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import Model, ModelOutput, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from tenacity import RetryError

from llmops.evaluation.rows import Row
from llmops.evaluation.run import Arm, Run
from llmops.evaluation.runner import door, traffic
from llmops.evaluation.runner.marks import marker
from llmops.evaluation.runner.progress import Progress
from llmops.geval import READS_GIVEN

SCORER = "marks"


def arm_task(role: str, arm: Arm, run: Run, rows: Sequence[Row], progress: Progress) -> Task:
    """The Inspect task of one arm."""
    samples = [
        Sample(id=row.id, input=row.input, target=list(row.targets), metadata={"values": dict(row.values)})
        for row in rows
    ]
    model = arm_model(arm, progress, stream="ttft" in run.metrics)
    assert isinstance(model.api, door.Door)
    pace = model.api.pace
    progress.limits[role] = lambda: pace.limit
    return Task(
        name=role,
        dataset=MemoryDataset(samples, name=run.dataset_sha256[:10]),
        solver=asked(arm, model.api, progress, wants_given(run)),
        scorer=marked(run, arm, progress),
        model=model,
    )


def wants_given(run: Run) -> bool:
    """Whether a judge reads what the model was given: the door then tells the messages as it rendered them."""
    return any(one.name in READS_GIVEN for one in run.of_type("Judge"))


def arm_model(arm: Arm, progress: Progress, stream: bool = False) -> Model:
    """The model provider of one arm; never shared, as two arms may differ in their prompt's version only."""
    model = get_model(
        f"llmops/{arm.model}",
        base_url=arm.url,
        memoize=False,
        token_file=str(door.TOKEN_FILE) if arm.token else "",
        stream=stream,
    )
    if arm.price is not None:
        assert isinstance(model.api, door.Door)
        price, purse = arm.price, progress.purse
        model.api.paid = lambda tokens: purse.pay(price.of(tokens))
    return model


def variables(arm: Arm, asked_text: str, values: dict[str, Any]) -> dict[str, Any]:
    """The prompt's variables from a row: the fields it declares, and the input under the one variable left over."""
    chosen = {name: values[name] for name in arm.variables if values.get(name) is not None}
    if arm.input_variable:
        chosen[arm.input_variable] = asked_text
    return chosen


@solver(name="asked")
def asked(arm: Arm, api: door.Door, progress: Progress, echo: bool = False) -> Solver:
    """Ask for one row; a failure counts once, after its retries, as an error and not as a wrong answer. What a user
    was told (traffic) is taken as it stands."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        body: dict[str, Any] | None = None
        values = state.metadata["values"]
        if traffic.ANSWER in values:
            state.output = ModelOutput.from_content(str(state.model), values[traffic.ANSWER])
            state.output.metadata = {"given": values[traffic.GIVEN]} if echo else {}
            return state
        if arm.prompt is not None:
            filled = variables(arm, state.input_text, values)
            body = {"prompt": {**arm.prompt, "variables": filled, **({"echo": True} if echo else {})}}
            if said := values.get(traffic.SAID):
                body["messages"] = [{"role": "user", "content": said}]
        async with asking(api, progress):
            return await generate(state, extra_body=body) if body else await generate(state)

    return solve


@asynccontextmanager
async def asking(api: door.Door, progress: Progress) -> AsyncIterator[None]:
    """Begins as long as there is money left. A request that failed for good is counted, and told in the server's
    words."""
    await progress.purse.enter()
    try:
        yield
    except Exception as error:  # noqa: BLE001 - counted, then raised again
        api.gave_up()
        progress.failed()
        last = error.last_attempt.exception() if isinstance(error, RetryError) else None
        raise last or error from None  # tenacity's own words hide the server's
    finally:
        progress.purse.leave()


@scorer(metrics={"*": [mean()]}, name=SCORER)
def marked(run: Run, arm: Arm, progress: Progress) -> Scorer:
    """Mark one answer. A mark that cannot be had is NaN here, as Inspect wants all names on all samples; the reason
    stands beside it.
    """
    mark = marker(run)

    async def score(state: TaskState, target: Target) -> Score:
        answer, told = state.output.completion, state.output.metadata or {}
        progress.answered()
        marks = mark(answer, list(target))
        found, lacks = usage_marks(run.reading("usage"), told, arm)
        value = {"answered": 1.0, **marks, **found, **dict.fromkeys(lacks, math.nan)}
        return Score(value=value, answer=answer, metadata={"lacks": lacks, "given": told.get("given", "")})

    return score


def _cost(told: Mapping[str, Any], arm: Arm) -> float | None:
    """None where the price, or what was used, is not known."""
    if arm.price is None or "tokens" not in told:
        return None
    return arm.price.of(told["tokens"])


def usage_marks(metrics: Sequence[str], told: Mapping[str, Any], arm: Arm) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds and money, and why there are none."""
    marks: dict[str, float] = {}
    lacks: dict[str, str] = {}
    for name in metrics:
        if name == "cost" and arm.price is None:
            continue  # known before, and told once (panel.py)
        if name == "cost" and (paid := _cost(told, arm)) is not None:
            marks[name] = paid
        elif name != "cost" and (read := {"latency": "seconds", "ttft": "first"}[name]) in told:
            marks[name] = float(told[read])
        else:
            lacks[name] = "the reply has no usage" if name == "cost" else "no token of text came"
    return marks, lacks
