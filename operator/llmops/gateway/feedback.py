"""POST /v1/feedback {id, rating: up|down, comment?, question?}: what a user thought of a prompt's answer.

The id says what the answer was (marks.py), so any gateway takes it, and a thumb down counts for the version and the
weight that were in force when the answer was given. Answers that were no part of the running attempt are counted in the
metrics only. The comment is not kept: nobody's text is stored here. Where passages were found for the answer, a thumb
down is told to their index with the question (disliked.py).
"""

from __future__ import annotations

from typing import Any, Literal, cast

from llmops.api import names
from llmops.gateway import marks
from llmops.gateway.auth import Caller
from llmops.gateway.choose import Share
from llmops.gateway.disliked import Disliked
from llmops.gateway.errors import BadRequest, Unknown
from llmops.gateway.marks import Mark
from llmops.gateway.report import Ledger
from llmops.gateway.snapshot import Release, Snapshot
from llmops.telemetry import metrics

RATINGS = ("up", "down")


def take(
    body: dict[str, Any], caller: Caller, snapshot: Snapshot, ledger: Ledger, disliked: Disliked
) -> dict[str, Any]:
    """The reply: whether it counts as evidence."""
    rating, told, question = body.get("rating"), body.get("id"), body.get("question")
    if rating not in RATINGS:
        raise BadRequest(f"rating must be up or down, not {rating!r}", code="rating_invalid", param="rating")
    if not isinstance(question, str | None):
        raise BadRequest("question must be what was asked, a text", code="question_invalid", param="question")
    mark = marks.read(told) if isinstance(told, str) else None
    if mark is None or not isinstance(told, str):
        raise BadRequest(
            "id must be the id of a completion that a prompt answered, or a model that is rolled out (its `id` field)",
            code="id_invalid",
            param="id",
        )
    of_service, name = names.of_subject(mark.subject)
    found = snapshot.services.get(name) if of_service else snapshot.releases.get(name)
    if found is None or not found.admission.admits(caller.namespace):
        raise Unknown(
            f"{'LLMService' if of_service else 'PromptRelease'} {name} is not there for namespace {caller.namespace}",
            code="model_not_found" if of_service else "prompt_not_found",
            param="id",
        )
    metrics.GATEWAY_FEEDBACK.labels(mark.subject, mark.variant, rating).inc()
    share = _share(mark, ledger)
    if share is not None and rating == "down":
        ledger.failed(mark.subject, cast(Literal["stable", "candidate"], mark.variant), share, "Feedback")
    if rating == "down" and isinstance(found, Release):
        disliked.tell(found, mark, told, question)
    return {"object": "feedback", "id": told, "rating": rating, "counted": share is not None}


def _share(mark: Mark, ledger: Ledger) -> Share | None:
    running = ledger.running(mark.subject)
    if running is None or not mark.attempt or not mark.unit:
        return None
    digest, number = running
    if number != mark.attempt or not digest.startswith(mark.digest):
        return None
    return Share(digest, number, mark.weight, mark.unit)
