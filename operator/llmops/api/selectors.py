"""Label selectors, as Kubernetes reads them, and the namespaces that an `access` admits by them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from llmops.api.common import Access, LabelRequirement, LabelSelector


def admits(access: Access, own: str, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether an object of namespace `own` may be used from `namespace`, which has these labels."""
    if namespace == own or access.from_ == "All":
        return True
    return access.from_ == "Selector" and access.selector is not None and matches(access.selector, labels)


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
