"""A text's own probability, from the echo of a completions endpoint: what is believed, and what is read off. Pure.

The trap: a server that ignores `echo` answers with a well-formed reply and no error, and who adds its numbers up gets
the same flattering value for every text. So one probe is asked first, an ordinary sentence and the same words in
disorder; what does not echo both, or finds both equally likely, is not measured, with a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

PROBES = ("The cat sat on the mat and looked at the door.", "door the The at sat. looked mat cat and the on the")


ASKED: Mapping[str, Any] = {"max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
"""How it is asked for. One token is generated, as some servers refuse none; it is left away."""


def told(choice: Any) -> dict[str, Any]:
    """A completion's choice as `read` reads it."""
    logprobs = choice.logprobs
    return {
        "text": choice.text,
        "offsets": getattr(logprobs, "text_offset", None) or [],
        "logprobs": getattr(logprobs, "token_logprobs", None) or [],
        "tokens": getattr(logprobs, "tokens", None) or [],
        "tops": getattr(logprobs, "top_logprobs", None) or [],
    }


class NoEcho(ValueError):
    """Why the reply cannot be used."""


@dataclass(frozen=True)
class Read:
    """What a server says of the tokens behind a context."""

    logprob: float  # their sum
    best: int  # how many were the most likely at their place
    tokens: int

    @property
    def marks(self) -> dict[str, tuple[float, float]]:
        """The sums of the two metrics."""
        return {
            "perplexity": (self.logprob, float(self.tokens)),
            "next_token_accuracy": (float(self.best), float(self.tokens)),
        }


def text(context: str, target: str) -> tuple[str, int]:
    """What is sent, and where the target begins in it."""
    return f"{context}\n{target}", len(context) + 1


def read(echo: Mapping[str, Any], prompt: str, begin: int) -> Read:
    """The tokens of `prompt` from character `begin` on; NoEcho says what is wrong with the reply."""
    offsets, logprobs = _offsets(echo, prompt), echo["logprobs"]
    if not str(echo["text"]).startswith(prompt[: len(prompt) // 2]) or not offsets or len(offsets) != len(logprobs):
        raise NoEcho("the server does not echo the prompt with its logprobs, so the target's probability is not known")
    ours = [at for at, offset in enumerate(offsets) if begin <= offset < len(prompt)]
    found = [logprobs[at] for at in ours]
    if not found or any(number is None or number > 0 or not math.isfinite(number) for number in found):
        raise NoEcho("the server gives no logprobs for the tokens of the prompt")
    return Read(sum(found), sum(_is_best(echo, at) for at in ours), len(ours))


def _offsets(echo: Mapping[str, Any], prompt: str) -> list[int]:
    """Where each token begins in the prompt. Counted from the tokens where they make it up: some servers count a
    beginning-of-text token in, and all they report is moved by its length.
    """
    tokens = [str(one) for one in echo["tokens"]]
    moved = "".join(tokens).find(prompt)
    if moved < 0:
        return list(echo["offsets"])
    return [at - moved for at in accumulate((len(one) for one in tokens[:-1]), initial=0)]


def _is_best(echo: Mapping[str, Any], at: int) -> bool:
    tops = echo["tops"][at] if at < len(echo["tops"]) else None
    if not tops:
        raise NoEcho("the server does not say which token it holds the most likely")
    return bool(max(tops.values()) <= echo["logprobs"][at] + 1e-6)


def believed(sense: Read, nonsense: Read) -> None:
    """NoEcho where the probes look alike."""
    if sense.logprob / sense.tokens <= nonsense.logprob / nonsense.tokens:
        raise NoEcho("the server's logprobs do not tell an ordinary sentence from its words in disorder")


def next_tokens(told: Any) -> dict[str, float]:
    """The most likely first tokens, from a completion's logprobs: OpenAI's legacy form, or the chat's, as llama.cpp
    has it."""
    legacy = getattr(told, "top_logprobs", None)
    if legacy:
        return {str(token): float(logprob) for token, logprob in legacy[0].items()}
    content = (getattr(told, "model_extra", None) or {}).get("content") or []
    return {str(top["token"]): float(top["logprob"]) for top in (content[0].get("top_logprobs") if content else [])}
