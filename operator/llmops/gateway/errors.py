"""What the door refuses, in the shape that OpenAI's clients read: {error: {message, type, param, code}}.

    Refusal
    ├── BadRequest        400  the request contradicts the API, a schema or a release; the message names the field
    ├── Unauthenticated   401  no credential, or one that is not, or no longer, good
    ├── NotAllowed        403  a good credential that does not open this
    ├── Unknown           404  no such model, prompt, version or path, as far as this caller may know
    ├── TooMuch           429  a limit or a budget; carries retry-after
    ├── NotReady          503  it exists and cannot answer yet; carries retry-after
    └── UpstreamFailed    502  the model, or the index, failed after all retries
        └── TimedOut      504  it took longer than the service's limits.timeout

The last two are failures of the service: they count against the version that was to answer. The others never do.
"""

from __future__ import annotations

from typing import ClassVar

import orjson


class Refusal(Exception):
    """An answer that is an error; `str()` is the sentence for the person who reads it."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"

    def __init__(self, message: str, *, code: str, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code, self.param, self.retry_after = code, param, retry_after

    def body(self) -> bytes:
        """The JSON that OpenAI's clients turn into their exceptions."""
        error = {"message": str(self), "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`retry-after` in whole seconds, where waiting helps."""
        if self.retry_after is None:
            return []
        return [(b"retry-after", b"%d" % max(1, round(self.retry_after + 0.499)))]


class BadRequest(Refusal):
    """The caller must write something else."""

    status = 400
    type = "invalid_request_error"


class Unauthenticated(Refusal):
    """The caller must come with a good credential."""

    status = 401
    type = "authentication_error"


class NotAllowed(Refusal):
    """Somebody must allow it first."""

    status = 403
    type = "permission_error"


class Unknown(Refusal):
    """There is no such thing for this caller; whether it exists for others is not said."""

    status = 404
    type = "invalid_request_error"


class TooMuch(Refusal):
    """Wait, or have the limit raised."""

    status = 429
    type = "rate_limit_error"


class BudgetSpent(TooMuch):
    """Of a Provider another service may still answer."""


class NotReady(Refusal):
    """Wait, or look at the object's conditions."""

    status = 503
    type = "service_unavailable_error"


class UpstreamFailed(Refusal):
    """The service failed, after retries and fallbacks."""

    status = 502


class TimedOut(UpstreamFailed):
    """The service took too long."""

    status = 504
