"""The dashboard: every graph asks for a metric that there is, by labels that it has; gauges go with their rollout."""

from __future__ import annotations

import json
import re

import pytest
from prometheus_client import REGISTRY

from llmops.desk.dashboard import ROWS, SCRAPED, Panel, dashboard
from llmops.telemetry import rollouts

PANELS = [panel for row in ROWS.values() for panel in row]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_graph_sums_by_labels_that_its_metric_has(panel: Panel) -> None:
    has = {*panel.metric._labelnames, *SCRAPED}
    assert set(panel.by) <= has
    assert set(re.findall(r"(\\w+)[!=]?=", panel.only)) <= has
    assert panel.metric._documentation


def test_it_is_whole_and_nothing_overlaps() -> None:
    made = json.loads(dashboard())
    graphs = [one for one in made["panels"] if one["type"] == "timeseries"]
    assert len(graphs) == len(PANELS)
    at = [one["gridPos"] for one in made["panels"]]
    places = {
        (x, y) for one in at for x in range(one["x"], one["x"] + one["w"]) for y in range(one["y"], one["y"] + one["h"])
    }  # fmt: skip
    assert len(places) == sum(one["w"] * one["h"] for one in at)
    assert len({one["id"] for one in made["panels"]}) == len(made["panels"])


def shown(name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(one.labels.values()): one.value
        for family in REGISTRY.collect() if family.name == name
        for one in family.samples if "shop/answer" in one.labels.values()
    }  # fmt: skip


def test_a_rollout_is_shown_while_it_moves_and_not_for_a_moment_longer() -> None:
    evidence = [{"signal": "Errors", "eValue": "0.4"}, {"signal": "Feedback", "eValue": "9.5"}]
    moving = {"phase": "Canary", "candidate": {"weight": 25, "evidence": evidence}}
    rollouts.show("PromptRelease", "shop/answer", moving)
    assert shown("llmops_rollout_weight") == {("PromptRelease", "shop/answer"): 25}
    assert shown("llmops_rollout_evidence")[("PromptRelease", "shop/answer", "Feedback")] == 9.5
    fewer = {"phase": "Canary", "candidate": {"weight": 50, "evidence": evidence[:1]}}
    rollouts.show("PromptRelease", "shop/answer", fewer)
    assert list(shown("llmops_rollout_evidence")) == [("PromptRelease", "shop/answer", "Errors")]
    for end in ({"phase": "Released"}, {"phase": "Rejected", "candidate": {"weight": 0}}, None):
        rollouts.show("PromptRelease", "shop/answer", moving)
        rollouts.show("PromptRelease", "shop/answer", end)
        assert shown("llmops_rollout_weight") == {}
        assert shown("llmops_rollout_evidence") == {}
