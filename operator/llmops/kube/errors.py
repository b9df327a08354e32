"""What the API server may answer instead of yes; the tree is drawn in the package's docstring."""

from __future__ import annotations


class ApiError(Exception):
    """An answer that is not a success. `status` is the HTTP status, 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFound(ApiError):
    """The object, or its kind, is not there."""


class Conflict(ApiError):
    """Somebody else wrote meanwhile, or the object exists already."""


class Expired(ApiError):
    """The place in history is gone: list again."""


class Invalid(ApiError):
    """The server refuses the content; its sentence says why."""


class Forbidden(ApiError):
    """A right is missing."""


class Unreachable(ApiError):
    """No answer in time, too many requests, or a fault of the server: worth another try."""


class NotOurs(Exception):
    """An object of the name we need exists and belongs to somebody else: it is never taken over."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid, 401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Expired, 422: Invalid,
}  # fmt: skip


def error(status: int, message: str) -> ApiError:
    """The exception for an HTTP status."""
    kind = _BY_STATUS.get(status, Unreachable if status == 429 or status >= 500 else ApiError)
    return kind(message, status)
