"""Which options an engine's command line takes, read from its package without importing it (that would need torch).

    python3 -m tests.engine_options vllm-0.33.0-….whl >tests/data/vllm-options.txt
    python3 -m tests.engine_options sglang-0.5.23-….whl >tests/data/sglang-options.txt

An option is a text that begins with -- in a file that defines the command line, or a field of a class there from whose
fields the package makes its options. The wheel comes from `pip download --no-deps`.
"""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

OPTION = re.compile(r"--[a-z0-9][a-z0-9_.-]*")
DEFINED_IN = {
    "vllm": (r"vllm/engine/arg_utils\.py", r"vllm/entrypoints/common/cli_args\.py"),
    "sglang": (r"sglang/srt/server_args\.py", r"sglang/srt/arg_groups/fields/\w+\.py"),
}


def options(wheel: Path) -> set[str]:
    """Every option of the package in this wheel."""
    package = wheel.name.partition("-")[0]
    with zipfile.ZipFile(wheel) as archive:
        files = [one for one in archive.namelist() if any(re.fullmatch(at, one) for at in DEFINED_IN[package])]
        return {option for file in files for option in _options(ast.parse(archive.read(file)))}


def _options(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OPTION.fullmatch(node.value):
            yield node.value
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    name = field.target.id.replace("_", "-")
                    yield from () if name.startswith("-") else (f"--{name}",)


if __name__ == "__main__":
    given = Path(sys.argv[1])
    print("# " + " ".join(given.name.split("-")[:2]))
    print("\n".join(sorted(options(given))))
