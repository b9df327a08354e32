"""Which streams the operator opens: each resource once, and only ours where that is enough."""

from __future__ import annotations

from typing import Any

from llmops.control import Controller, LookAgain, Refers
from llmops.control.follow import OURS, slim_pod, streams
from llmops.kube.resources import CONFIG_MAP, DEPLOYMENT, EVAL_JOB, LLM_SERVICE, NODE, POD, REVISION


async def nothing(*_: Any) -> LookAgain:
    return LookAgain.never()


def nobody(*_: Any) -> list[Any]:
    return []


def small(obj: Any) -> Any:
    return obj


def tiny(obj: Any) -> Any:
    return obj


def test_children_are_followed_by_our_label_and_once_for_all_who_make_them() -> None:
    one = Controller(LLM_SERVICE, nothing, owns=(DEPLOYMENT, CONFIG_MAP))
    two = Controller(EVAL_JOB, nothing, owns=(CONFIG_MAP,))
    assert set(streams([one, two])) == {(LLM_SERVICE, None), (EVAL_JOB, None), (DEPLOYMENT, OURS), (CONFIG_MAP, OURS)}


def test_what_one_wants_by_another_label_is_a_stream_of_its_own() -> None:
    one = Controller(
        EVAL_JOB, nothing, owns=(CONFIG_MAP,), refers=(Refers(CONFIG_MAP, nobody, "llmops.dev/watch=true"),)
    )
    assert {at for at in streams([one]) if at[0] == CONFIG_MAP} == {
        (CONFIG_MAP, OURS),
        (CONFIG_MAP, "llmops.dev/watch=true"),
    }


def test_what_one_wants_whole_is_followed_whole_and_once() -> None:
    one = Controller(EVAL_JOB, nothing, owns=(CONFIG_MAP,), refers=(Refers(CONFIG_MAP, nobody),))
    assert {at for at in streams([one]) if at[0] == CONFIG_MAP} == {(CONFIG_MAP, None)}


def test_our_own_kinds_are_followed_whole_even_as_children() -> None:
    assert (REVISION, None) in streams([Controller(LLM_SERVICE, nothing, owns=(REVISION,))])


def test_what_is_kept_of_an_object_is_enough_for_all_who_read_it() -> None:
    one = Controller(LLM_SERVICE, nothing, refers=(Refers(NODE, nobody, keep=small),))
    same = Controller(EVAL_JOB, nothing, refers=(Refers(NODE, nobody, keep=small),))
    other = Controller(EVAL_JOB, nothing, refers=(Refers(NODE, nobody, keep=tiny),))
    assert streams([one, same])[NODE, None] is small
    assert streams([one, other])[NODE, None] is None


def test_of_pods_only_what_somebody_reads_is_kept() -> None:
    assert streams([Controller(LLM_SERVICE, nothing, owns=(POD,))]) == {
        (LLM_SERVICE, None): None,
        (POD, OURS): slim_pod,
    }
    limits = {"limits": {"nvidia.com/gpu": "2"}}
    whole = {
        "kind": "Pod",
        "metadata": {"name": "a", "labels": {"b": "c"}, "managedFields": [{}], "annotations": {"d": "e"}},
        "spec": {
            "nodeName": "n",
            "volumes": [{}],
            "containers": [{"name": "engine", "env": [{}], "resources": limits}],
        },
        "status": {"phase": "Running"},
    }
    assert slim_pod(whole) == {
        "kind": "Pod",
        "metadata": {"name": "a", "labels": {"b": "c"}},
        "spec": {"nodeName": "n", "containers": [{"name": "engine", "resources": limits}]},
        "status": {"phase": "Running"},
    }
