"""Objects in memory, and the indexes over them, under any sequence of changes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmops.kube.store import Store

Object = dict[str, Any]


def obj(name: str, refers: str, owner: str | None = None) -> Object:
    labels = {"llmops.dev/owner-kind": "Kind", "llmops.dev/owner-name": owner} if owner else {}
    return {"metadata": {"namespace": "ns", "name": name, "labels": labels}, "refers": refers}


CHANGES = st.lists(
    st.tuples(st.booleans(), st.sampled_from("abc"), st.sampled_from("xy"), st.sampled_from(["one", "two", None])),
    max_size=30,
)


@given(CHANGES)
def test_an_index_finds_exactly_what_a_walk_would(changes: list[tuple[bool, str, str, str | None]]) -> None:
    store = Store()
    store.index("refers", lambda one: [one["refers"]])
    plain: dict[str, Object] = {}
    for put, name, refers, owner in changes:
        if put:
            plain[name] = obj(name, refers, owner)
            store.put(plain[name])
        else:
            assert store.drop(("ns", name)) is plain.pop(name, None)
    for key in "xy":
        assert names(store.find("refers", key)) == {n for n, one in plain.items() if one["refers"] == key}
    for owner in ("one", "two"):
        owned = {n for n, one in plain.items() if one["metadata"]["labels"].get("llmops.dev/owner-name") == owner}
        assert names(store.find("owner", ("Kind", "ns", owner))) == owned
    assert names(store.all()) == set(plain)


def test_an_index_added_late_knows_what_was_there_before() -> None:
    store = Store()
    store.put(obj("a", "x"))
    store.index("refers", lambda one: [one["refers"]])
    assert names(store.find("refers", "x")) == {"a"}


def names(found: Any) -> set[str]:
    return {one["metadata"]["name"] for one in found}
