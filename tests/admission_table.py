"""The table of bad objects (tests/data/bad_objects.yaml) and the samples, as values for the tests of both judges."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent


@dataclass(frozen=True)
class Case:
    """One bad object, and part of what each judge says of it; `server` is None where it accepts the object."""

    name: str
    manifest: dict[str, Any]
    offline: str
    server: str | None


def cases(section: str = "cases") -> list[Case]:
    """The cases of one section of the table."""
    table = yaml.safe_load((TESTS / "data" / "bad_objects.yaml").read_text(encoding="utf-8"))
    return [_case(entry, table["bases"]) for entry in table[section]]


def bases() -> list[dict[str, Any]]:
    """The good objects that the cases are made of."""
    table = yaml.safe_load((TESTS / "data" / "bad_objects.yaml").read_text(encoding="utf-8"))
    return list(table["bases"].values())


def samples() -> list[tuple[str, dict[str, Any]]]:
    """Every object of ours in manifests/samples and in the demo, with its file's name."""
    found = sorted([*(REPOSITORY / "manifests/samples").glob("*.yaml"), *(REPOSITORY / "demo/objects").glob("*.yaml")])
    objects = [(path.name, one) for path in found for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    return [(name, one) for name, one in objects if one and str(one.get("apiVersion", "")).startswith("llmops.dev/")]


def _case(entry: dict[str, Any], bases: dict[str, Any]) -> Case:
    manifest = copy.deepcopy(bases[entry["base"]])
    for path in entry.get("drop", []):
        *parents, last = path.split(".")
        del _at(manifest, parents)[last]
    for path, value in entry.get("set", {}).items():
        *parents, last = path.split(".")
        _at(manifest, parents)[last] = value
    offline = entry["offline"] if "offline" in entry else entry["says"]
    return Case(entry["case"], manifest, offline, entry.get("server", entry.get("says")))


def _at(manifest: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for part in path:
        manifest = manifest.setdefault(part, {})
    return manifest
