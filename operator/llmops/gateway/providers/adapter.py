"""What an adapter answers: how a request in OpenAI's shape is put to a provider, and how its answers read there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Feed = Callable[[bytes], bytes]


class Unsupported(Exception):
    """The provider has no such thing; the sentence is for the caller."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One way of speaking. `put` gives the path below the base URL and the body, for the door's path, the body with
    OpenAI's fields and the model's name there; `headers` carry the credential; `reply` is a whole answer and `events`
    begins a translator of a stream, both to OpenAI's; `problem` is what an error says, for people."""

    put: Callable[[str, Object, str], tuple[str, Object]]
    headers: Callable[[str], dict[str, str]]
    reply: Callable[[Object], Object]
    events: Callable[[], Feed]
    problem: Callable[[Object], str]
