"""The id of an answer that a rollout may count: it says what feedback on it speaks of, so that any gateway can take it.

`chatcmpl-` and, in base64url, `release|attempt|digest|variant|weight|unit|nonce`. It is no secret and no proof: whoever
sends feedback is authenticated, and the operator counts a unit's failure only if it saw that unit being served.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass

from llmops.gateway.choose import Share

PREFIX = "chatcmpl-"
_FIELDS = 7


@dataclass(frozen=True, slots=True)
class Mark:
    """What an answer was. `attempt` 0: it was no part of a rollout. `digest`: ten characters."""

    subject: str
    attempt: int
    digest: str
    variant: str
    weight: int
    unit: str


def new(subject: str, digest: str, variant: str, share: Share | None) -> str:
    """An id for one answer; `digest` is the version's that gave it, told where it is no part of a rollout."""
    told = (
        f"{share.attempt}|{share.digest[:10]}|{variant}|{share.weight}|{share.unit}"
        if share
        else f"0|{digest[:10]}|{variant}|0|"
    )
    text = f"{subject}|{told}|{secrets.token_hex(6)}"
    return PREFIX + base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def read(text: str) -> Mark | None:
    """What `new` wrote, or None for any other id."""
    if not text.startswith(PREFIX):
        return None
    coded = text[len(PREFIX) :]
    try:
        parts = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True).decode().split("|")
        if len(parts) != _FIELDS or parts[3] not in ("stable", "candidate"):
            return None
        return Mark(parts[0], int(parts[1]), parts[2], parts[3], int(parts[4]), parts[5])
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
