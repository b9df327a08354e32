"""Who is calling: a key, found by its name and compared by its hash, or a pod's service-account token.

A token is verified offline against the API server's own signing keys and remembered by its hash until it expires, so
the signature is paid for once (60 us) and not a request. What neither can show is refused with a sentence that says
what to send. No error and no log line ever carries the credential.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import jwt

from llmops.api import names
from llmops.gateway.errors import NotReady, Unauthenticated
from llmops.gateway.snapshot import Holder, Snapshot

Fetch = Callable[[str], Awaitable[dict[str, Any]]]
"""GETs a path of the API server."""

ALGORITHMS = ["RS256", "ES256", "ES384", "ES512", "RS384", "RS512"]
REMEMBERED = 4096
REFETCH_SECONDS = 10.0
_HOW = (
    "send `Authorization: Bearer llmops_<namespace>.<name>.<secret>` with a key of a GatewayKey, or, from a pod of this"
    f" cluster, a projected service-account token with audience {names.AUDIENCE!r}"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a good credential. `holder` is the key's, None for a service account."""

    namespace: str
    name: str
    holder: Holder | None

    @property
    def identity(self) -> str:
        """`namespace/name` of the key or of the service account."""
        return f"{self.namespace}/{self.name}"


class Tokens:
    """Service-account tokens, verified with the keys at /openid/v1/jwks."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.time) -> None:
        self._fetch, self._clock = fetch, clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._issuer: str | None = None
        self._fetched_at = float("-inf")
        self._known: dict[bytes, tuple[Caller, float]] = {}

    async def refresh(self) -> None:
        """Read the issuer and its keys; raises what `fetch` raises."""
        self._fetched_at = self._clock()
        about = await self._fetch("/.well-known/openid-configuration")
        found = await self._fetch("/openid/v1/jwks")
        self._keys = {one["kid"]: jwt.PyJWK(one) for one in found["keys"]}
        self._issuer = about["issuer"]

    def remembered(self, token: str) -> Caller | None:
        """The caller of a token that was verified before and has not expired."""
        caller, expires = self._known.get(_sha(token), (None, 0.0))
        return caller if expires > self._clock() else None

    async def verify(self, token: str) -> Caller:
        """The service account that the token was issued to."""
        key = await self._key(token)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=names.AUDIENCE,
                issuer=self._issuer,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.InvalidAudienceError:
            raise _refused(f"the service-account token is for another audience than {names.AUDIENCE!r}") from None
        except jwt.ExpiredSignatureError:
            raise _refused("the service-account token has expired: read its file again for each request") from None
        except jwt.InvalidTokenError:
            raise _refused("the service-account token is not good for this cluster") from None
        caller = _service_account(str(claims["sub"]))
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[_sha(token)] = (caller, float(claims["exp"]))
        return caller

    async def _key(self, token: str) -> jwt.PyJWK:
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except jwt.InvalidTokenError:
            raise _refused("the credential is neither a key of a GatewayKey nor a service-account token") from None
        if kid not in self._keys and self._clock() - self._fetched_at > REFETCH_SECONDS:
            try:
                await self.refresh()
            except Exception as problem:  # noqa: BLE001 - whatever the client raises, the caller is told to wait
                raise NotReady(
                    f"the gateway could not read the cluster's token keys ({type(problem).__name__}): "
                    "try again in a few seconds",
                    code="token_keys_missing",
                    retry_after=5,
                ) from None
        if kid not in self._keys:
            raise _refused("the service-account token was not signed by this cluster")
        return self._keys[kid]


async def authenticate(
    credential: bytes | None, snapshot: Snapshot, tokens: Tokens, now: float, keys_age: float, keys_max_age: float
) -> Caller:
    """The caller, or Unauthenticated. `keys_age`: seconds since the API server was last heard."""
    token = _bearer(credential)
    if not token.startswith(names.KEY_PREFIX):
        return tokens.remembered(token) or await tokens.verify(token)
    if keys_age > keys_max_age:
        raise NotReady(
            f"the gateway has not heard from the API server for {keys_age / 60:.0f} minutes, so it cannot "
            "tell whether this key still holds: try again later",
            code="keys_stale",
            retry_after=30,
        )
    return _key_holder(token, snapshot, now)


def _bearer(credential: bytes | None) -> str:
    if credential is None:
        raise _refused("no credential")
    scheme, _, token = credential.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _refused("the Authorization header has no bearer token")
    return token.strip()


def _key_holder(token: str, snapshot: Snapshot, now: float) -> Caller:
    namespace, _, rest = token[len(names.KEY_PREFIX) :].partition(".")
    name, _, secret = rest.rpartition(".")
    holder = snapshot.holders.get(names.qualified(namespace, name)) if secret else None
    # The same sentence for an unknown name and a wrong secret: names of keys are nobody's to guess.
    if holder is None:
        raise _refused("this key is not known (or no longer)")
    digest = _sha(token)
    match = next((one for one in holder.hashes if hmac.compare_digest(one.sha256, digest)), None)
    if match is None:
        raise _refused("this key is not known (or no longer)")
    if holder.disabled:
        raise _refused(f"GatewayKey {holder.name} is disabled: ask {holder.namespace}'s admin", how=False)
    if match.expires_at is not None and match.expires_at <= now:
        raise _refused(f"this key of GatewayKey {holder.name} has expired: ask for a new one", how=False)
    return Caller(holder.namespace, name, holder)


def _service_account(subject: str) -> Caller:
    parts = subject.split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
        raise _refused("the token is not a service account's")
    return Caller(parts[2], parts[3], None)


def _sha(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _refused(what: str, how: bool = True) -> Unauthenticated:
    return Unauthenticated(f"{what}; {_HOW}" if how else what, code="invalid_api_key")
