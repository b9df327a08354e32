"""`llmops explain prel NAME`: where a release stands, and the evidence, in words. Pure."""

from __future__ import annotations

from typing import Any

from llmops.api import PromptRelease
from llmops.api.rollout import Evidence

READING = {
    "Released": "Users get one version, and nothing else is on its way.",
    "Rejected": "The new version was taken back; users get the stable one.",
    "RollingBack": "The new version is being taken back: every gateway is asked to confirm.",
    "Evaluating": "The new version is evaluated; no user meets it yet.",
    "Canary": "Some users meet the new version, and are compared with the others.",
    "Baking": "Every user meets the new version; the old one is ready to come back.",
    "Holding": "Nothing changes until the reason below is gone or a person decides.",
}


def explain(raw: dict[str, Any]) -> str:
    """The text, from the object as the API server gives it."""
    release = PromptRelease.parse(raw)
    status = release.status
    if status is None or status.phase is None:
        return f"{release.qualified} was not looked at yet: is the operator running?"
    lines = [f"{release.qualified}: {status.phase}. {READING.get(status.phase, '')}".rstrip()]
    if status.stable is not None:
        lines.append(f"  stable     {_named(status.stable)}, since {status.stable.since}")
    if status.candidate is not None:
        moving = status.candidate
        lines.append(f"  candidate  {_named(moving)}, attempt {moving.attempt}, {moving.weight or 0}% of users")
        if moving.score:
            lines.append(f"  evaluation {moving.score}")
        for one in moving.evidence:
            lines += [f"  {line}" for line in evidence_in_words(one)]
        if moving.eta:
            lines.append(f"  next step  expected {moving.eta}")
    ready = status.condition("Ready")
    if ready is not None and ready.message:
        lines.append(f"  why        {ready.reason}: {ready.message}")
    lines += [f"  before     {one.at} {one.version} {one.outcome}: {one.message}" for one in status.history[:5]]
    return "\n".join(lines)


def evidence_in_words(one: Evidence) -> list[str]:
    """One signal: what was counted, and how far it is from either decision."""
    said = [
        f"{one.signal}: {_of(one.candidate)} failed with the candidate, {_of(one.stable)} with stable.",
        f"  Evidence of harm {one.e_value}; at {one.rollback_at} it is taken back.",
    ]
    if one.not_worse is not None:
        said.append(f"  Evidence that it is no worse {one.not_worse}; from {one.advance_at} it may go on.")
    return said


def _of(counted: str | None) -> str:
    failed, _, units = (counted or "0/0").partition("/")
    share = f" ({int(failed) / int(units):.1%})" if units.isdigit() and int(units) else ""
    return f"{failed} of {units} users{share}"


def _named(version: Any) -> str:
    return f"{version.version or '?'} ({(version.digest or '')[:10]})"
