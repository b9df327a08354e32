"""Inspect's task for one arm: a row is a sample, asked as the arm says, marked by our metrics.

The two arms of a comparison are two tasks over the same rows, one after the other, so that `concurrency` is what the
target sees. Temperature is 0 for a bare service; a prompt release brings its own parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import Model, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from tenacity import RetryError

from llmops.evaluation.rows import Row
from llmops.evaluation.run import Arm, Run
from llmops.evaluation.runner import door
from llmops.evaluation.runner.marks import marks
from llmops.evaluation.runner.progress import Progress

SCORER = "marks"


def arm_task(role: str, arm: Arm, run: Run, rows: Sequence[Row], progress: Progress) -> Task:
    """The Inspect task of one arm."""
    samples = [
        Sample(id=row.id, input=row.input, target=list(row.targets), metadata={"values": dict(row.values)})
        for row in rows
    ]
    model = arm_model(arm)
    assert isinstance(model.api, door.Door)
    return Task(
        name=role,
        dataset=MemoryDataset(samples, name=run.dataset_sha256[:10]),
        solver=asked(arm, model.api, progress),
        scorer=marked(run.metrics, progress),
        model=model,
    )


def arm_model(arm: Arm) -> Model:
    """The model provider of one arm; never shared, as two arms may differ in their prompt's version only."""
    return get_model(
        f"llmops/{arm.model}", base_url=arm.url, memoize=False, token_file=str(door.TOKEN_FILE) if arm.token else ""
    )


def variables(arm: Arm, asked_text: str, values: dict[str, Any]) -> dict[str, Any]:
    """The prompt's variables from a row: the fields it declares, and the input under the one variable left over."""
    chosen = {name: values[name] for name in arm.variables if values.get(name) is not None}
    if arm.input_variable:
        chosen[arm.input_variable] = asked_text
    return chosen


@solver(name="asked")
def asked(arm: Arm, api: door.Door, progress: Progress) -> Solver:
    """Ask for one row; a failure counts once, after its retries, as an error and not as a wrong answer."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        body = None
        if arm.prompt is not None:
            body = {"prompt": {**arm.prompt, "variables": variables(arm, state.input_text, state.metadata["values"])}}
        try:
            return await generate(state, extra_body=body) if body else await generate(state)
        except Exception as error:  # noqa: BLE001 - counted, then raised again
            api.gave_up()
            progress.failed()
            last = error.last_attempt.exception() if isinstance(error, RetryError) else None
            raise last or error from None  # tenacity's own words hide the server's

    return solve


@scorer(metrics={"*": [mean()]}, name=SCORER)
def marked(metrics: Sequence[str], progress: Progress) -> Scorer:
    """Mark one answer."""

    async def score(state: TaskState, target: Target) -> Score:
        answer = state.output.completion
        progress.answered()
        return Score(value=dict(marks(answer, list(target), metrics)), answer=answer)

    return score
