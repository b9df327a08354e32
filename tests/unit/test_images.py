"""What an image may import: a package that only another one has is noticed here, not when a pod starts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import importlib, importlib.metadata, sys
image, *modules = sys.argv[1:]
locked = set(image.split(","))
names = importlib.metadata.packages_distributions()
for module in modules:
    importlib.import_module(module)
strange = {name.partition(".")[0] for name in sys.modules} & set(names)
normal = lambda one: one.lower().replace("_", "-").replace(".", "-")
told = sorted(one for one in strange if not any(normal(each) in locked for each in names[one]))
print(" ".join(told))
"""


OPERATOR = (
    "llmops.cli", "llmops.control.main", "llmops.serving.reconcile", "llmops.retrieval.reconcile",
    "llmops.evaluation.reconcile", "llmops.release.reconcile", "llmops.access", "llmops.gateway.main",
)  # fmt: skip


# Not Milvus's: it imports pandas, and that imports whatever else is there.
RETRIEVAL = ("llmops.retrieval.stores.pgvector", "llmops.retrieval.stores.qdrant")


@pytest.mark.parametrize(("image", "modules"), [("operator", OPERATOR), ("retrieval", RETRIEVAL)])
def test_a_process_imports_nothing_that_its_image_has_not(image: str, modules: tuple[str, ...]) -> None:
    lock = (ROOT / f"locks/{image}.txt").read_text()
    locked = {re.sub("[_.]", "-", one.lower()) for one in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.M)}
    own = {"llmops-operator", "setuptools", "pip"}  # and what an environment has anyway
    asked = [sys.executable, "-c", PROGRAM, ",".join(locked | own), *modules]
    done = subprocess.run(asked, env={"PYTHONPATH": str(ROOT / "operator")}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
