"""One request to somebody's API: its address, our credential, and errors in our own words.

Tried twice at most: who is paid for, or limits us, is not hammered. What the provider says of a request the caller
learns, without the credential should it be in it; what it says of our credential, only the admin does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from llmops.gateway.errors import BadRequest, NotReady, UpstreamFailed
from llmops.gateway.providers.adapter import Feed, Object, Unsupported
from llmops.gateway.snapshot import External, Service

SAID = 500
"""Characters that are passed on of what a provider says."""
REFUSED, UNKNOWN, TOO_MANY = (401, 403), 404, 429


@dataclass(frozen=True, slots=True)
class Ask:
    """A request made ready."""

    url: str
    headers: dict[str, str]
    body: bytes


class Credentials:
    """The mounted Secret: a file a provider. Read when it is needed, since the kubelet changes it under us."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def of(self, provider: str) -> str | None:
        """None: the admin has put none there yet."""
        try:
            return (self._folder / provider).read_text().strip() or None
        except OSError:
            return None


def prepare(service: Service, path: str, body: Object, credentials: Credentials) -> Ask:
    """BadRequest where the provider has no such thing, NotReady where the admin has something to do first."""
    external = service.external
    assert external is not None
    if external.problem is not None or external.adapter is None:
        raise NotReady(external.problem or "unknown type", code="provider_not_ready", retry_after=30)
    credential = credentials.of(external.provider)
    if credential is None and external.base_url.startswith("https://"):
        raise NotReady(
            f"Provider {external.provider} has no credential yet: the cluster's admin puts it into Secret "
            f"llmops-providers, data key {external.provider}",
            code="provider_credential",
            retry_after=30,
        )
    try:
        below, sent = external.adapter.put(path, body, external.model)
    except Unsupported as problem:
        raise BadRequest(f"LLMService {service.name}: {problem}", code="provider_unsupported") from None
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        told = f"the request cannot be put to {external.type}: {type(problem).__name__} {problem}"
        raise BadRequest(f"LLMService {service.name}: {told}", code="provider_unsupported") from None
    headers = external.adapter.headers(credential) if credential else {}
    return Ask(external.base_url + below, headers, orjson.dumps(sent))


def translated(service: Service, status: int, body: bytes, credentials: Credentials) -> bytes:
    """A whole answer in OpenAI's shape; raises what our credential or the service's spec is to blame for."""
    external = service.external
    assert external is not None
    assert external.adapter is not None
    if status < 300:
        try:
            return orjson.dumps(external.adapter.reply(orjson.loads(body)))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _failed(service, "answered something that makes no sense") from None
    said = _said(external, body, credentials)
    if status in REFUSED:
        raise _failed(service, f"refused our credential ({status}): its admin replaces data key {external.provider}")
    if status == UNKNOWN:
        raise _failed(service, f"knows no model {external.model} at {external.base_url}: correct spec.external.model")
    if status < 400:
        raise _failed(service, f"answered with a redirect ({status}), which is not followed: correct its baseURL")
    kind = "rate_limit_error" if status == TOO_MANY else "invalid_request_error"
    error = {"message": f"{external.provider}: {said}", "type": kind, "param": None, "code": "provider_error"}
    return orjson.dumps({"error": error})


def translator(external: External) -> Feed:
    """Of one stream; what makes no sense in it breaks it off like a lost connection."""
    assert external.adapter is not None
    feed = external.adapter.events()

    def careful(data: bytes) -> bytes:
        try:
            return feed(data)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise aiohttp.ClientPayloadError("an event that makes no sense") from None

    return careful


def _said(external: External, body: bytes, credentials: Credentials) -> str:
    try:
        answer: Any = orjson.loads(body)
        assert external.adapter is not None
        text = external.adapter.problem(answer if isinstance(answer, dict) else {})
    except ValueError:
        text = "no reason given"
    credential = credentials.of(external.provider)
    return (text.replace(credential, "…") if credential else text)[:SAID]


def _failed(service: Service, what: str) -> UpstreamFailed:
    assert service.external is not None
    told = f"LLMService {service.name}: Provider {service.external.provider} {what}"
    return UpstreamFailed(told, code="provider_failed")
