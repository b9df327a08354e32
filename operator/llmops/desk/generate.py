"""Writes everything that is made from the models and tables: crds/, docs/reference/, the dashboard. `--check` only
compares.

    python -m llmops.desk.generate [--check]

The drift test and `make check` run the comparison, so a generated file can neither be edited nor forgotten.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from llmops.api.crd import crds
from llmops.desk import reference
from llmops.desk.dashboard import dashboard

HEADER = "# Generated from operator/llmops/api by `make generate`; change the models, not this file.\n"
CRD_FOLDERS = ("crds", "charts/llmops-operator/files/crds")  # a chart can only read files below itself
DASHBOARD = "charts/llmops-operator/files/dashboards/llmops.json"
REPOSITORY = Path(__file__).resolve().parents[3]


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # kubectl reads YAML 1.1, where a bare y or n is a boolean (a field called n became "false"); PyYAML quotes neither
    style = "'" if text in ("y", "Y", "n", "N") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(value: Any) -> str:
    """YAML in the order given, without anchors."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)
    return text


def files() -> dict[str, str]:
    """Every generated file's text by its path in the repository."""
    kinds = {f"{name.split('.')[0]}.yaml": HEADER + as_yaml(crd) for name, crd in crds().items()}
    made = {f"{folder}/{name}": text for folder in CRD_FOLDERS for name, text in kinds.items()}
    made |= {f"docs/reference/{name}": text for name, text in reference.pages().items()}
    return made | {DASHBOARD: dashboard()}


def stale(repository: Path = REPOSITORY) -> list[str]:
    """The paths whose text is not what would be generated now."""
    return [path for path, text in files().items() if _read(repository / path) != text]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main(argv: list[str]) -> int:
    """0 when all is up to date (or was written), 1 when --check found something stale."""
    parser = argparse.ArgumentParser(prog="generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is stale")
    parser.add_argument("--into", type=Path, default=REPOSITORY, help="the repository")
    options = parser.parse_args(argv)
    found = stale(options.into)
    for path in found:
        print(f"{'stale' if options.check else 'written'}: {path}")
        if not options.check:
            (options.into / path).parent.mkdir(parents=True, exist_ok=True)
            (options.into / path).write_text(files()[path], encoding="utf-8")
    if found and options.check:
        print("run `make generate` and commit the result")
    return 1 if found and options.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
