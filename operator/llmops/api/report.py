"""What a gateway tells the operator: POST /internal/report, a long poll; the only channel between the two.

The gateway answers at once when there is something the cursor does not know, else after `wait` seconds. A unit is a
user (the first 16 hex digits of its hash), reported once when it first meets the running attempt and once for each
signal it fails first; and once when an answer that it got from stable was compared with one of the candidate's that
nobody saw, and once for each signal that only one of the two failed first; and once when an answer that it got was
judged (the signal Judge) first, and first with the candidate. A poll with another `instance` than the
gateway's own counts as cursor 0: a gateway that was restarted tells everything it still knows.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

PATH = "/internal/report"
MAX_WAIT_SECONDS = 20
MAX_UNITS = 200_000


class Poll(TypedDict):
    """The request's body."""

    instance: str | None
    cursor: int
    wait: float


class Unit(TypedDict):
    """One user's first meeting with an attempt (kind exposure), or first failure of a signal in it (kind failure); or
    its first pair of answers (kind pair, variant candidate), or first pair in which only `variant` failed a signal; or
    its first judged answer (kind judged)."""

    release: str
    digest: str
    attempt: int
    unit: str
    variant: Literal["stable", "candidate"]
    weight: int
    at: float
    kind: Literal["exposure", "failure", "pair", "judged"]
    signal: str | None


class Serving(TypedDict):
    """What a gateway's snapshot does for one release."""

    stable: str | None
    candidate: str | None
    attempt: int
    weight: int
    shadow: NotRequired[int]


def account(provider: str) -> str:
    """Whose sums a Provider's are; no key is called so."""
    return f"provider:{provider}"


class Spend(TypedDict):
    """What came with one key since this gateway's instance began."""

    key: str
    requests: int
    tokens: int
    cost: float


class Load(TypedDict):
    """What one service has to do at this gateway: sent to its pods and not answered yet, held until a pod is ready;
    and since the gateway's instance began, requests that came and tokens that were generated."""

    running: int
    held: int
    asked: int
    tokens: int


class Report(TypedDict):
    """The reply's body. `serving`, `services` and `load` are keyed by namespace/name; services gives ready endpoints,
    load only what was ever asked; providers says of each whether there is a credential, never what it is."""

    instance: str
    pod: str
    cursor: int
    serving: dict[str, Serving]
    services: dict[str, int]
    load: NotRequired[dict[str, Load]]
    providers: NotRequired[dict[str, bool]]
    units: list[Unit]
    spend: list[Spend]
