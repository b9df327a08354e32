"""Somebody's API through the installed door: the admin offers it, a team uses it, and the credential stays inside.

The API is a real engine of this cluster, asked by its address as any OpenAI-compatible server would be. The other ways
of speaking, and every fault, are proved over sockets in tests/unit/gateway/test_providers.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from demo import acts, install
from demo.stage import NAMESPACE, apply, condition, get, kubectl, load, until, until_true

pytestmark = pytest.mark.cluster
Object = dict[str, Any]
SECRET = "sk-nobody-may-read-this-0123456789"
PROVIDER = "neighbour"


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    """The admin's Secret is there before the gateways start, so that no test waits for the kubelet to bring it."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": install.SYSTEM}})
    metadata = {"name": "llmops-providers", "namespace": install.SYSTEM}
    apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {PROVIDER: SECRET}})
    yield install.operator(fresh=True)
    kubectl("delete", "secret", "llmops-providers", "-n", install.SYSTEM)
    kubectl("delete", "llmprov", PROVIDER, "-n", install.SYSTEM, "--ignore-not-found")
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def provider(**spec: Any) -> Object:
    whole = {"type": "OpenAI", "baseURL": f"http://support-llm.{NAMESPACE}.svc.cluster.local/v1", **spec}
    metadata = {"name": PROVIDER, "namespace": install.SYSTEM}
    return {"apiVersion": "llmops.dev/v1alpha1", "kind": "Provider", "metadata": metadata, "spec": whole}


def service(**spec: Any) -> Object:
    external = {"providerRef": {"name": PROVIDER}, "model": f"{NAMESPACE}/support"}
    metadata = {"name": "far", "namespace": NAMESPACE}
    whole = {"external": external, "access": {"from": "Same"}, **spec}
    return {"apiVersion": "llmops.dev/v1alpha1", "kind": "LLMService", "metadata": metadata, "spec": whole}


def ready(kind: str, name: str, namespace: str) -> tuple[str, str]:
    one = condition(get(kind, name, namespace), "Ready")
    return one["status"], one["reason"]


def ask(show: acts.Show, **more: Any) -> Any:
    said: Any = [{"role": "user", "content": "How do I reset my password?"}]
    return show.client().chat.completions.create(model="far", messages=said, temperature=0, **more)


def test_a_team_uses_what_the_admin_offers_and_nobody_sees_the_credential(show: acts.Show) -> None:
    apply(*[one for one in load("services.yaml") if one["metadata"]["name"] == "support"], service())
    until_true("llmservice", "support", timeout=240)
    kubectl("delete", "llmprov", PROVIDER, "-n", install.SYSTEM, "--ignore-not-found")  # of a run that was cut off
    until("no Provider yet", lambda: ready("llmservice", "far", NAMESPACE) == ("False", "ReferenceMissing"), 30)
    apply(provider())
    until("offered", lambda: ready("llmprov", PROVIDER, install.SYSTEM) == ("True", "AsWanted"), 30)
    refused = ("False", "ReferenceNotAllowed")
    until("this namespace is not admitted", lambda: ready("llmservice", "far", NAMESPACE) == refused, 30)
    with pytest.raises(openai.InternalServerError, match="does not admit namespace"):
        ask(show)

    apply(
        provider(access={"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}})
    )
    until_true("llmservice", "far", timeout=30)
    whole = ask(show).choices[0].message.content
    pieces = [one.choices[0].delta.content or "" for one in ask(show, stream=True) if one.choices]
    assert whole
    assert "".join(pieces) == whole
    assert kubectl("get", "deployment", "-n", NAMESPACE, "-o", "name").split() == ["deployment.apps/support-llm"]

    written = kubectl("get", "llmservices,llmprov,revisions,events", "-A", "-o", "yaml")
    logs = [kubectl("logs", "-n", install.SYSTEM, "-l", f"app.kubernetes.io/name={name}", "--tail=-1")
            for name in ("llmops-gateway", "llmops-operator")]  # fmt: skip
    assert all(logs)
    assert SECRET not in "".join([written, *logs])
    account = f"--as=system:serviceaccount:{install.SYSTEM}:llmops-operator"
    for who in (account, account.replace("llmops-operator", "llmops-gateway")):
        assert "no" in _can(who, "get", "secrets", "-n", install.SYSTEM)


def _can(who: str, *what: str) -> str:
    try:
        return kubectl("auth", "can-i", *what, who)
    except Exception as refused:  # noqa: BLE001 - kubectl answers no with an exit status of 1
        return f"no: {refused}"


def test_a_service_goes_from_its_own_pods_to_somebody_else_and_its_pods_go(show: acts.Show) -> None:
    model = {"model": {"uri": "file:///models/support-good.gguf"},
             "engine": {"type": "LlamaCpp", "image": "llmops/demo-models:dev"},
             "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}}}  # fmt: skip
    kubectl("delete", "llmservice", "far", "-n", NAMESPACE)
    apply({**service(), "spec": model})
    until_true("llmservice", "far", timeout=120)
    assert "far-llm" in kubectl("get", "deployment", "-n", NAMESPACE)
    apply(service())
    until("the pods' objects are gone", lambda: "far-llm" not in kubectl("get", "deployment", "-n", NAMESPACE), 60)
    until_true("llmservice", "far", timeout=30)
    assert ask(show).choices[0].message.content
