"""Somebody's API through the installed door: the admin offers it, a team uses it, and the credential stays inside.

The API is a real engine of this cluster, asked by its address as any OpenAI-compatible server would be. The other ways
of speaking, and every fault, are proved over sockets in tests/unit/gateway/test_providers.py.
"""

from __future__ import annotations

import inspect
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from demo import acts, install, shop
from demo.stage import NAMESPACE, apply, condition, get, kubectl, load, until, until_true
from tests import embedding_api

Object = dict[str, Any]
SECRET = "sk-nobody-may-read-this-0123456789"
PROVIDER, WORDS = "neighbour", "words"


@pytest.fixture(scope="module")
def show(cluster: object) -> Iterator[acts.Show]:
    """The admin's Secret is there before the gateways start, so that no test waits for the kubelet to bring it."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": install.SYSTEM}})
    metadata = {"name": "llmops-providers", "namespace": install.SYSTEM}
    apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {PROVIDER: SECRET, WORDS: SECRET}})
    yield install.operator(fresh=True)
    kubectl("delete", "secret", "llmops-providers", "-n", install.SYSTEM)
    kubectl("delete", "llmprov", PROVIDER, WORDS, "-n", install.SYSTEM, "--ignore-not-found")
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
    until("no Provider yet", lambda: ready("llmservice", "far", NAMESPACE) == ("False", "ReferenceMissing"), 120)
    apply(provider())
    until("offered", lambda: ready("llmprov", PROVIDER, install.SYSTEM) == ("True", "AsWanted"), 120)
    refused = ("False", "ReferenceNotAllowed")
    until("this namespace is not admitted", lambda: ready("llmservice", "far", NAMESPACE) == refused, 120)
    with pytest.raises(openai.InternalServerError, match="does not admit namespace"):
        ask(show)

    apply(
        provider(access={"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}})
    )
    until_true("llmservice", "far", timeout=120)
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
    until("the pods' objects are gone", lambda: "far-llm" not in kubectl("get", "deployment", "-n", NAMESPACE), 120)
    until_true("llmservice", "far", timeout=120)
    assert ask(show).choices[0].message.content


def somebody() -> list[Object]:
    """An API that embeds, as Cohere's documentation has it, in a pod of its own; its key stands in its own Secret."""
    metadata, labels = {"name": WORDS, "namespace": NAMESPACE}, {"app": WORDS}
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
                  "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
    key = {"name": "EMBEDDING_KEY", "valueFrom": {"secretKeyRef": {"name": WORDS, "key": "key"}}}
    container = {
        "name": "api", "image": "llmops/retrieval:dev", "imagePullPolicy": "IfNotPresent", "env": [key],
        "command": ["python3", "/api/embedding_api.py", "8080"], "securityContext": restricted,
        "readinessProbe": {"httpGet": {"path": "/told", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "api", "mountPath": "/api"}],
    }  # fmt: skip
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": SECRET}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
         "data": {"embedding_api.py": inspect.getsource(embedding_api)}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": labels},
         "spec": {"containers": [container], "volumes": [{"name": "api", "configMap": {"name": WORDS}}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata,
         "spec": {"selector": labels, "ports": [{"port": 8080}]}},
    ]  # fmt: skip


def searched(text: str) -> Any:
    ip = kubectl("get", "service", "faq-index", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}")
    request = urllib.request.Request(f"http://{ip}:8080/search", json.dumps({"text": text}).encode())
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)


def test_an_index_embeds_through_somebody_s_api_and_the_credential_stays_at_the_door(show: acts.Show) -> None:
    url = f"http://{WORDS}.{NAMESPACE}.svc.cluster.local:8080/v2"
    terms = {"budget": {"amount": "5", "period": "Day"}, "access": {"from": "All"},
             "pricing": [{"model": "*", "inputPerMillionTokens": "0.1", "outputPerMillionTokens": "0"}]}  # fmt: skip
    offered = provider(type="Cohere", baseURL=url, **terms)
    offered["metadata"]["name"] = WORDS
    vectors = service(external={"providerRef": {"name": WORDS}, "model": "embed-v4.0", "task": "Embed"})
    vectors["metadata"]["name"] = "vectors"
    index = next(one for one in load("index.yaml") if one["kind"] == "VectorIndex")
    index["spec"]["embedding"]["serviceRef"]["name"] = "vectors"
    index["spec"]["rollout"]["gates"] = [{"type": "AnnRecall", "atK": 10, "min": "0.95"}]
    apply(*somebody(), offered, vectors, index, *shop.config_maps())
    until_true("vectorindex", "faq", timeout=300)
    assert get("vectorindex", "faq")["status"]["embedding"]["dimensions"] == embedding_api.WIDTH

    found = searched("Is the lamp waterproof?")["passages"]
    assert "lamp" in found[0]["text"].lower()
    apply(*[one for one in load("services.yaml") if one["metadata"]["name"] == "support"], *load("grounded.yaml"))
    until_true("promptrelease", "grounded-answer", timeout=120)
    prompt = {"id": "grounded-answer", "variables": {"question": "Is the lamp waterproof?"}}
    reply: Any = show.client().chat.completions.create(model="-", messages=[], extra_body={"prompt": prompt})
    assert reply.model_extra["citations"][0]["id"] == found[0]["id"]

    until("the tokens are counted", lambda: get("llmprov", WORDS, install.SYSTEM)["status"].get("tokens"), 120)
    ip = kubectl("get", "service", WORDS, "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}")
    with urllib.request.urlopen(f"http://{ip}:8080/told", timeout=20) as told:
        asked = json.load(told)["asked"]
    assert {one["purpose"] for one in asked} == {"search_document", "search_query"}
    assert sum(one["texts"] for one in asked if one["purpose"] == "search_query") == 2
    written = kubectl("get", "configmaps,pods,jobs,deployments,vectorindexes,events", "-n", NAMESPACE, "-o", "yaml")
    logs = [
        kubectl("logs", "-n", NAMESPACE, "-l", f"llmops.dev/part={part}", "--tail=-1") for part in ("query", "build")
    ]
    assert SECRET not in "".join([written, *logs])
