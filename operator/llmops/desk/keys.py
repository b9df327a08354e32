"""`llmops key create`: a new key, told once on stderr; on stdout the GatewayKey with its hash, for kubectl or Git."""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from llmops.api import names
from llmops.api.admission import judge
from llmops.desk.objects import Unknown

SECRET_BYTES = 32


def create(
    name: str, namespace: str, models: list[str], seconds: float | None, groups: list[str], tenants: list[str]
) -> int:
    """The key itself is stored nowhere: whoever loses it makes another. `seconds`: until it expires."""
    key = new_key(namespace, name)
    until = datetime.now(UTC) + timedelta(seconds=seconds) if seconds is not None else None
    made = manifest(key, name, namespace, models, until, groups, tenants)
    if refusals := judge(made):  # before anybody is given a key that opens nothing
        raise Unknown("; ".join(map(str, refusals)))
    print(yaml.safe_dump(made, sort_keys=False, allow_unicode=True), end="")
    print(f"The key, shown this once:\n{key}", file=sys.stderr)
    return 0


def new_key(namespace: str, name: str) -> str:
    """llmops_<namespace>.<name>.<256 random bits>."""
    return f"{names.KEY_PREFIX}{namespace}.{name}.{secrets.token_urlsafe(SECRET_BYTES)}"


def manifest(
    key: str,
    name: str,
    namespace: str,
    models: list[str],
    until: datetime | None = None,
    groups: Sequence[str] = (),
    tenants: Sequence[str] = (),
) -> dict[str, Any]:
    """The GatewayKey that honours this key."""
    entry: dict[str, Any] = {"sha256": hashlib.sha256(key.encode()).hexdigest()}
    if until:
        entry["expiresAt"] = (until - timedelta(microseconds=until.microsecond)).strftime("%Y-%m-%dT%H:%M:%SZ")
    more = {"models": models, "groups": list(groups), "tenants": list(tenants)}
    spec: dict[str, Any] = {"keys": [entry], **{field: value for field, value in more.items() if value}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": names.API_VERSION, "kind": "GatewayKey", "metadata": metadata, "spec": spec}
