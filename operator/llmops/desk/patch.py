"""A patch of a release's content: made, tried out, and written down for Git. Pure.

It is a JSON merge patch (RFC 7386): kustomize takes it as it is, `kubectl patch --type merge` too. What it does not
name stays as it is (rollout, access); what it sets to null goes.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import yaml

from llmops.api import PromptRelease
from llmops.kube.resources import Object
from llmops.release.content import content_digest

MANAGERS = {
    "argocd.argoproj.io/instance": "Argo CD",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}
"""Labels or annotations by which they know what is theirs."""


def manager(one: Object) -> str | None:
    """Who keeps this object as it is in Git."""
    metadata = one["metadata"]
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    return next((f"{whose} ({mark})" for mark, whose in MANAGERS.items() if mark in marks), None)


def toward(present: Any, wanted: Any) -> Any:
    """The whole of `wanted`, and null for what `present` has besides, at every depth."""
    if not isinstance(present, dict) or not isinstance(wanted, dict):
        return wanted
    gone = {key: None for key in present if key not in wanted}
    return {key: toward(present.get(key), value) for key, value in wanted.items()} | gone


def onto(present: Any, patch: Any) -> Any:
    """What the API server makes of both."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = dict(present) if isinstance(present, dict) else {}
    for key, value in patch.items():
        made[key] = None if value is None else onto(made.get(key), value)
    return {key: value for key, value in made.items() if not (key in patch and value is None)}


def digest_after(present: Object, patch: Object) -> str:
    """The identity of the content that the object would have."""
    return content_digest(PromptRelease.parse(onto(present, patch)))


def written(patch: Object) -> str:
    """YAML that every reader of Kubernetes' files takes for the same; texts of several lines stay readable."""
    text: str = yaml.dump(patch, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)
    return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_MISTAKEN = re.compile(r"[-+.0-9].*|[yYnN]", re.DOTALL)
"""Texts that a reader may take for a number or a boolean, whichever YAML it was taught (1e3, 0o10, y)."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else '"' if _MISTAKEN.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
