"""Who may use what: `spec.access` and a key's `models`, made into sets when the configuration changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmops.api import Access, LabelSelector
from llmops.api.common import LabelRequirement
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


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """As Kubernetes reads a selector: all of it must hold; an empty one matches everything."""
    exact = (selector.match_labels or {}).items()
    return all(labels.get(key) == value for key, value in exact) and all(
        _holds(one, labels) for one in selector.match_expressions or ()
    )


def _holds(one: LabelRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(one.key)
    if one.operator == "Exists":
        return value is not None
    if one.operator == "DoesNotExist":
        return value is None
    found = value is not None and value in (one.values or ())
    return found if one.operator == "In" else not found


def opens(models: Iterable[str], namespace: str) -> frozenset[tuple[str, str, str]]:
    """`support`, `shop/support`, `shop/*`, `*`, each also after `prompt:`; a bare name is of the key's namespace."""
    return frozenset(_opened(text, namespace) for text in models)


def _opened(text: str, namespace: str) -> tuple[str, str, str]:
    kind, bare = ("prompt", text[7:]) if text.startswith("prompt:") else ("model", text)
    where, slash, name = bare.rpartition("/")
    if bare == "*":
        return kind, "*", "*"
    return kind, where if slash else namespace, name
