"""A model of letters, each by the four before it: it echoes a prompt with its logprobs, as vLLM does, and knows a
sentence from its words in disorder. `python echo.py PORT`.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BEFORE = 4
READ = "the cat sat on the mat and looked at the door. what colour is grass? green. what colour is snow? white. " * 3
LONG = Counter(READ[at : at + BEFORE + 1] for at in range(len(READ) - BEFORE))
SHORT = Counter(READ[at : at + BEFORE] for at in range(len(READ) - BEFORE))
LETTERS = sorted(set(READ))


def logprob(before: str, letter: str) -> float:
    return math.log((LONG[before + letter] + 0.01) / (SHORT[before] + 0.01 * 128))


def told(text: str) -> dict[str, Any]:
    """The logprobs of every letter of a text, as OpenAI's completions word them."""
    low = text.lower()
    before = [low[max(0, at - BEFORE) : at] for at in range(len(low))]
    first = [max(LETTERS, key=lambda one, by=by: LONG[by + one]) for by in before]  # type: ignore[misc]
    found = [logprob(by, letter) for by, letter in zip(before, low, strict=True)]
    tops = [{best: logprob(by, best), letter: here} for by, best, letter, here in zip(before, first, text, found,
                                                                                    strict=True)]  # fmt: skip
    return {
        "tokens": list(text),
        "text_offset": list(range(len(text))),
        "token_logprobs": [None, *found[1:]],
        "top_logprobs": [None, *tops[1:]],
    }


class Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = asked["prompt"] + "."
        choice = {"index": 0, "text": text, "logprobs": told(text), "finish_reason": "length"}
        body = json.dumps({"id": "c", "object": "text_completion", "created": 1, "model": asked["model"],
                           "choices": [choice]}).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1])), Echo).serve_forever()
