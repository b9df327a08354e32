"""The form that a version promises for its answers (spec.response), and whether an answer has it.

An answer has it if its text is JSON and fits the schema: 2.5 us for a small answer, and nothing for a version that
promises nothing. An answer that calls a tool is not the last word, so it promises nothing either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from llmops.gateway import schema
from llmops.gateway.errors import UpstreamFailed


@dataclass(frozen=True, slots=True)
class Form:
    """spec.response, compiled. `again`: ask once more for an answer that has not this form."""

    release: str
    validator: Any
    again: bool

    def wrong(self, text: str | None, ended: str | None) -> str | None:
        """What is wrong with an answer's text, in words that carry none of it: it is somebody's."""
        cut = ": it was cut off, raise spec.parameters.maxTokens" if ended == "length" else ""
        try:
            value = orjson.loads(text or "")
        except orjson.JSONDecodeError:
            return f"is not JSON{cut}"
        if self.validator.is_valid(value):
            return None
        error = next(iter(self.validator.iter_errors(value)))
        place = ".".join(str(part) for part in error.instance_path)
        return f"does not fit spec.response.schema ({place + ': ' if place else ''}{schema.rule(error)}){cut}"

    def wrong_reply(self, body: bytes) -> str | None:
        """The same of a complete answer; one that is no completion at all is told elsewhere."""
        try:
            choices = orjson.loads(body)["choices"]
            return next((wrong for one in choices if (wrong := self._wrong_choice(one))), None)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return None

    def _wrong_choice(self, choice: Mapping[str, Any]) -> str | None:
        message = choice["message"]
        return None if message.get("tool_calls") else self.wrong(message.get("content"), choice.get("finish_reason"))

    def refusal(self, wrong: str, tries: int) -> UpstreamFailed:
        """What the caller is told instead of such an answer."""
        again = ", twice" if tries > 1 else ""
        return UpstreamFailed(
            f"PromptRelease {self.release}: the model's answer {wrong}{again}: ask again, or have the release's "
            "messages say what the schema asks for",
            code="response_invalid",
        )


class Heard:
    """The text of a streamed answer as it passes; only where it has a Form or is read by somebody, 3 us a chunk."""

    __slots__ = ("_ended", "_form", "_pieces", "_tools")

    def __init__(self, form: Form | None) -> None:
        self._form, self._pieces = form, list[str]()
        self._tools = False
        self._ended: str | None = None

    def chunk(self, choices: Sequence[Mapping[str, Any]]) -> None:
        """One event's choices."""
        for one in choices:
            delta = one.get("delta") or {}
            if piece := delta.get("content"):
                self._pieces.append(piece)
            self._tools = self._tools or bool(delta.get("tool_calls"))
            self._ended = one.get("finish_reason") or self._ended

    @property
    def text(self) -> str:
        """What was said; nothing of an answer that calls a tool, which is not the last word."""
        return "" if self._tools else "".join(self._pieces)

    def refusal(self) -> UpstreamFailed | None:
        """At the end: what the caller is told, if the whole of it is wrong."""
        if self._form is None:
            return None
        wrong = None if self._tools else self._form.wrong(self.text, self._ended)
        return None if wrong is None else self._form.refusal(wrong, 1)


__all__ = ["Form", "Heard"]
