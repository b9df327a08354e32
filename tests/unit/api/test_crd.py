"""The converter from models to CRDs: what is generated is checked in, bounded and complete, and it fails loudly."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from llmops.api import KINDS
from llmops.api.common import RULES_KEY, KubernetesObject, Model
from llmops.api.crd import Unsayable, crds, root
from llmops.desk.generate import REPOSITORY, as_yaml, files, stale


def _walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _walk(inner, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from _walk(schema[part], f"{path}[]")


def test_generated_files_are_what_is_checked_in() -> None:
    assert stale() == [], "run `make generate` and commit the result"


def test_the_manifests_have_the_kinds_of_now() -> None:
    """The whole comparison (tests/e2e/test_chart.py) needs helm; this is what is forgotten most."""
    text = (REPOSITORY / "manifests/install.yaml").read_text(encoding="utf-8")
    found = [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one["kind"] == "CustomResourceDefinition"]
    assert {one["metadata"]["name"]: one["spec"] for one in found} == {
        one["metadata"]["name"]: one["spec"] for one in crds().values()
    }, "run `make generate manifests` and commit the result"


def test_no_generated_file_is_forgotten_to_be_written() -> None:
    assert {name for name in files() if name.startswith("crds/")} == {f"crds/{kind.PLURAL}.yaml" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_every_field_has_a_sentence(kind: type[KubernetesObject]) -> None:
    fields = [(path, one) for path, one in _walk(root(kind)) if path and not path.endswith("[]")]
    bare = [path for path, one in fields if not one.get("description") and path != ".metadata"]
    assert bare == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_every_rule_says_what_to_write_in_one_line(kind: type[KubernetesObject]) -> None:
    rules = [rule for _, schema in _walk(root(kind)) for rule in schema.get(RULES_KEY, [])]
    assert rules
    assert all(20 < len(rule["message"]) < 250 and "\n" not in rule["message"] for rule in rules)


def test_no_crd_is_larger_than_256_kib() -> None:
    assert all(len(as_yaml(crd).encode()) < 256 * 1024 for crd in crds().values())


def test_people_find_every_kind_by_its_short_name_and_by_the_category() -> None:
    found = {crd["spec"]["names"]["shortNames"][0]: crd["spec"]["names"]["categories"] for crd in crds().values()}
    assert set(found) == {"llm", "vi", "ej", "prel", "gk", "llmprov", "rev"}
    assert all(categories == ["llmops"] for categories in found.values())


def test_status_is_a_subresource_of_everything_but_the_frozen_revision() -> None:
    with_status = {name for name, crd in crds().items() if "subresources" in crd["spec"]["versions"][0]}
    assert with_status == set(crds()) - {"revisions.llmops.dev"}


class _Text(Model):
    text: str


class _Texts(Model):
    texts: list[Annotated[str, Field(max_length=1)]]


class _Union(Model):
    either: _Text | _Texts


class _Map(Model):
    map: dict[str, Annotated[str, Field(max_length=1)]]


class _Odd(Model):
    odd: Annotated[int, Field(multiple_of=3)]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (_Text, "text: a text without maxLength"),
        (_Texts, "texts: a list without max_length"),
        (_Map, "map: a map without max_length"),
        (_Union, "either: write one model with optional fields"),
        (_Odd, "multipleOf has no place"),
    ],
)
def test_what_a_structural_schema_cannot_say_stops_the_generator(spec: type[Model], says: str) -> None:
    kind = type("Kind", (KubernetesObject,), {"KIND": "Kind", "__annotations__": {"spec": spec}, "__doc__": "A kind."})
    with pytest.raises(Unsayable, match=says):
        root(kind)
