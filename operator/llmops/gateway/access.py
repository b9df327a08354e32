"""Who may use what: `spec.access` and a key's `models`, made into sets when the configuration changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmops.api import Access
from llmops.api.selectors import matches
from llmops.gateway.snapshot import Admission

Namespaces = Mapping[str, Mapping[str, str]]
"""Every namespace's labels; followed only while some object's access has a selector."""


def admission(access: Access, namespace: str, namespaces: Namespaces) -> Admission:
    """Same is the object's own namespace; an own namespace is always admitted."""
    allowed: frozenset[str] | None = frozenset((namespace,))
    if access.from_ == "All":
        allowed = None
    elif access.from_ == "Selector" and access.selector is not None:
        chosen = (name for name, labels in namespaces.items() if matches(access.selector, labels))
        allowed = frozenset((namespace, *chosen))
    return Admission(allowed, access.service_accounts == "Allow")


def opens(models: Iterable[str], namespace: str) -> frozenset[tuple[str, str, str]]:
    """`support`, `shop/support`, `shop/*`, `*`, each also after `prompt:`; a bare name is of the key's namespace."""
    return frozenset(_opened(text, namespace) for text in models)


def _opened(text: str, namespace: str) -> tuple[str, str, str]:
    kind, bare = ("prompt", text[7:]) if text.startswith("prompt:") else ("model", text)
    where, slash, name = bare.rpartition("/")
    if bare == "*":
        return kind, "*", "*"
    return kind, where if slash else namespace, name
