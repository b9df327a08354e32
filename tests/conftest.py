"""What every test on the real cluster stands on: `cluster` (once a session) and `namespace` (one a test)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.cluster import choose
from tests.cluster.access import Access

# The same examples in every run: what a search finds by chance would be found in somebody else's change. And no
# deadlines, of an example or of making ten: on a machine that others work on too they find its load.
settings.register_profile("ours", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cluster", default="auto", choices=choose.CHOICES,
        help="the real cluster: current (your kubeconfig's, in namespaces of our own), kind, node, or auto (default)",
    )  # fmt: skip


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Access:
    """A running cluster that knows this checkout's kinds; it is left up, so that the next run starts at once."""
    wanted = request.config.getoption("--cluster")
    access = Access(choose.up(wanted), choose.choose(wanted))
    access.export()
    access.teach_our_kinds()
    _stand_down(access)
    return access


def _stand_down(access: Access) -> None:
    """An operator that a demo left would reconcile what tests drive themselves; test_main_job installs it anew."""
    access.kubectl(
        "delete", "deployment", "llmops-operator", "--namespace=llmops-system", "--ignore-not-found",
        "--cascade=foreground", "--timeout=300s",
    )  # fmt: skip


@pytest.fixture
def namespace(cluster: Access, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace that admits only restricted pods, named after its test, gone after it."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_")).strip("-")
    name = f"{words[:40].strip('-')}-{uuid.uuid4().hex[:6]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "llmops.dev/test": "true"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}", "--timeout=120s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
