"""The vector databases' client side, one file an engine, behind one interface (base.py) and one contract test.

An engine's client library is imported only when that engine is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from llmops.retrieval.stores.base import STARTING, Reader, Store, Where

TOKEN, USERNAME, PASSWORD = "LLMOPS_ENGINE_TOKEN", "LLMOPS_ENGINE_USERNAME", "LLMOPS_ENGINE_PASSWORD"
CREDENTIALS = {"token": TOKEN, "username": USERNAME, "password": PASSWORD}
"""The data keys of spec.engine.external.credentialsSecretRef, and the environment variables that bring them."""


def where(type_: str, uri: str, database: str = "", environ: Mapping[str, str] = os.environ) -> Where:
    """An engine, with the credentials that the environment has for it."""
    return Where(type_, uri, database, *(environ.get(name, "") for name in (TOKEN, USERNAME, PASSWORD)))


def open_store(one: Where, alias: str, prefix: str, patience: float = STARTING) -> Store:
    """For the Job: waits for an engine that is starting. Away, NotAllowed."""
    store: Callable[[Where, str, str, float], Store] = _client(one.type, "Store")
    return store(one, alias, prefix, patience)


def open_reader(one: Where) -> Reader:
    """For the query server: connects when it is first asked."""
    reader: Callable[[Where], Reader] = _client(one.type, "Reader")
    return reader(one)


def _client(type_: str, kind: str) -> Any:
    return getattr(import_module(f"llmops.retrieval.stores.{type_.lower()}"), f"{type_}{kind}")
