"""The kinds on a real API server: the CRDs are taken, bad objects refused with the right sentence, good ones taken."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
import yaml
from tests.admission_table import REPOSITORY, Case, bases, cases, samples

from llmops.api import KINDS, names
from llmops.api.admission import judge
from llmops.kube.client import Client
from llmops.kube.errors import ApiError, Invalid
from llmops.kube.resources import NAMESPACE, REVISION, Object, Resource

CRD = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)


@pytest_asyncio.fixture
async def client(cluster: object) -> AsyncIterator[Client]:
    async with await Client.connect() as connected:
        yield connected


async def _refusal(client: Client, manifest: Object) -> str | None:
    """What the API server says against it, or None where it would take it."""
    placed = {**manifest, "metadata": {**manifest["metadata"], "namespace": "default"}}
    try:
        await client.create(Resource.of(placed), placed, dry_run=True)
    except ApiError as error:
        return str(error)
    return None


@pytest.mark.parametrize("path", sorted((REPOSITORY / "crds").glob("*.yaml")), ids=lambda path: path.stem)
async def test_the_api_server_takes_the_crd_and_finds_its_schema_structural(client: Client, path: Any) -> None:
    applied = await client.apply(CRD, yaml.safe_load(path.read_text()))
    conditions = {one["type"]: one for one in applied["status"]["conditions"]}
    assert conditions["NamesAccepted"]["status"] == "True"
    assert "NonStructuralSchema" not in conditions


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
async def test_a_bad_object_is_refused_by_both_judges_with_the_sentence_expected(client: Client, case: Case) -> None:
    said = await _refusal(client, case.manifest)
    assert said is not None
    assert case.server is not None
    assert case.server in said
    assert judge(case.manifest)


@pytest.mark.parametrize("case", cases("templates"), ids=lambda case: case.name)
async def test_what_only_a_template_shows_passes_the_api_server_and_is_left_to_the_condition(
    client: Client, case: Case
) -> None:
    assert await _refusal(client, case.manifest) is None


@pytest.mark.parametrize("manifest", bases(), ids=lambda manifest: manifest["kind"])
async def test_what_the_bad_objects_are_made_of_is_taken(client: Client, manifest: Object) -> None:
    assert await _refusal(client, manifest) is None


@pytest.mark.parametrize(("name", "manifest"), samples())
async def test_every_sample_is_taken(client: Client, name: str, manifest: Object) -> None:
    assert await _refusal(client, manifest) is None


async def test_a_revision_is_frozen_but_its_label_is_not(client: Client) -> None:
    namespace = f"admission-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    try:
        revision = next(one for one in bases() if one["kind"] == "Revision")
        name = revision["metadata"]["name"]
        await client.create(REVISION, {**revision, "metadata": {"name": name, "namespace": namespace}})
        with pytest.raises(Invalid, match="a Revision is frozen"):
            await client.patch(REVISION, namespace, name, {"spec": {"content": {"messages": [{"role": "user"}]}}})
        labelled = await client.patch(REVISION, namespace, name, {"metadata": {"labels": {names.STATE: "stable"}}})
        assert labelled["metadata"]["labels"][names.STATE] == "stable"
    finally:
        await client.delete(NAMESPACE, None, namespace)


async def test_defaults_are_what_the_models_say(client: Client) -> None:
    by_kind = {kind.KIND: kind for kind in KINDS}
    for manifest in bases():
        placed = {**manifest, "metadata": {**manifest["metadata"], "namespace": "default"}}
        stored = await client.create(Resource.of(placed), placed, dry_run=True)
        kind = by_kind[manifest["kind"]]
        assert kind.model_validate(stored).spec == kind.model_validate(manifest).spec  # type: ignore[attr-defined]


async def test_kubectl_explain_has_a_sentence_for_every_field(client: Client) -> None:
    document = await client.raw(f"/openapi/v3/apis/{names.API_VERSION}")
    for kind in KINDS:
        schema = next(one for name, one in document["components"]["schemas"].items() if name.endswith(f".{kind.KIND}"))
        bare = [path for path, inner in _fields(kind.KIND, schema) if not inner.get("description")]
        assert bare == []


def _fields(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, inner in schema.get("properties", {}).items():
        if name == "metadata":
            continue
        yield f"{path}.{name}", inner
        yield from _fields(f"{path}.{name}", inner)
    if "items" in schema:
        yield from _fields(f"{path}[]", schema["items"])
