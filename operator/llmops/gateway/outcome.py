"""What became of a request, told to the rollouts that it was part of (docs/evidence.md).

An answer that was served is an exposure of its unit; an answer that failed for good, or was given by a fallback, is an
exposure and a failure. What the caller did wrong is neither, nor is a caller who hung up. An engine that refuses what a
release rendered (4xx) is the release's failure: the caller's part was checked before. An answer that had not the form
its version promises fails InvalidResponse even if a second one had it: a unit's first failure counts, once.

Latency is what somebody waited until there was something to read, an error and a fallback's answer included: all of a
whole answer, the first byte of a stream. The rest of a stream is as slow as it is long, and as its reader reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmops.gateway.choose import Choice, Draw, Share
from llmops.gateway.report import Ledger
from llmops.gateway.snapshot import CANDIDATE


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one request. Failed: it was given an error; its own release's, or its own model's, when another one helped."""

    release_failed: bool
    model_failed: bool
    invalid: bool
    seconds: float


def tell(ledger: Ledger, choice: Choice | None, draw: Draw | None, what: Outcome) -> None:
    """The release's rollout and the model's, where this request is part of them. A model promises no form."""
    if choice is not None and choice.share is not None:
        failed = failures(what.release_failed, what.invalid, what.seconds, choice.share.slow)
        _note(ledger, choice.release.name, choice.variant, choice.share, failed)
    if draw is not None:
        _note(
            ledger, draw.subject, draw.variant, draw.share,
            failures(what.model_failed, False, what.seconds, draw.share.slow),
        )  # fmt: skip


def failures(failed: bool, invalid: bool, seconds: float, slow: float | None) -> list[str]:
    """The signals that an answer failed."""
    late = slow is not None and seconds > slow
    fared = (("Errors", failed), ("InvalidResponse", invalid), ("Latency", late))
    return [name for name, it_did in fared if it_did]


def _note(ledger: Ledger, subject: str, variant: str, share: Share, failed: list[str]) -> None:
    met: Literal["stable", "candidate"] = "candidate" if variant == CANDIDATE else "stable"
    ledger.exposed(subject, met, share)
    for signal in failed:
        ledger.failed(subject, met, share, signal)
