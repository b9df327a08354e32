"""Paragraphs that people wrote, as many as a machine with Python has: what the installed packages say of themselves,
and the documentation inside the standard library."""

from __future__ import annotations

import ast
import inspect
import sysconfig
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path
from typing import cast

WORDS = range(8, 61)


def paragraphs(many: int) -> list[dict[str, str]]:
    """{id, text}, no text twice, in the same order each time; fewer where there are no more."""
    found: dict[str, str] = {}
    for name, text in (*_packages(), *_modules()):
        for at, part in enumerate(text.split("\n\n")):
            plain = " ".join(part.split())
            if len(plain.split()) in WORDS and sum(one.isalpha() or one == " " for one in plain) > 0.85 * len(plain):
                found.setdefault(plain, f"{name}-{at}")
        if len(found) >= many:
            break
    return [{"id": name, "text": text} for text, name in list(found.items())[:many]]


def _packages() -> Iterator[tuple[str, str]]:
    for one in sorted(distributions(), key=lambda each: each.metadata["Name"].lower()):
        yield one.metadata["Name"], str(cast("Message", one.metadata).get_payload() or "")


def _modules() -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    name = str(path.relative_to(root)).removesuffix(".py").replace("/", ".")
                    yield f"{name}-{getattr(node, 'lineno', 0)}", inspect.cleandoc(text)
