"""What each metric is: how it adds up, which way is better, what it reads. Pure; both sides use it.

proportion  a row passes or fails: kept as counts, Wilson's and Tango's intervals
mean        a number a row: kept with the quantiles of its bootstrap
ratio       sums over rows divided by one another (perplexity, shares of tokens): bootstrapped over rows
corpus      a score of the whole text (BLEU, chrF, TER): bootstrapped over rows
groups      how far groups of rows lie apart: in other metrics, or from what users asked at first

`unit` is empty for what lies between 0 and 1. A metric that reads `targets` does not know what to make of a row without
one; f1 and squad_em do (SQuAD v2: the right answer is none), and the rest need no right answer at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Form = Literal["proportion", "mean", "ratio", "corpus", "groups"]
Targets = Literal["needed", "may be empty", "not read"]
Source = Literal["answer", "usage", "likelihood", "panel", "rows"]
"""What a mark is made of: the answer's text, the request itself, the target's tokens, another model, other marks."""


@dataclass(frozen=True)
class About:
    """What must be known of a metric to add it up and to judge it."""

    form: Form
    targets: Targets = "needed"
    source: Source = "answer"
    less_is_better: bool = False
    unit: str = ""


BUILT_IN: dict[str, About] = {
    "exact_match": About("proportion"),
    "squad_em": About("proportion", "may be empty"),
    "includes": About("proportion"),
    "f1": About("mean", "may be empty"),
    "rouge_1": About("mean"),
    "rouge_2": About("mean"),
    "rouge_l": About("mean"),
    "bleu": About("corpus"),
    "chrf": About("corpus"),
    "ter": About("corpus", less_is_better=True, unit="edits a word"),
    "refusal": About("proportion", "not read", less_is_better=True),
    "latency": About("mean", "not read", "usage", True, "seconds"),
    "ttft": About("mean", "not read", "usage", True, "seconds"),
    "cost": About("mean", "not read", "usage", True, "money"),
    "perplexity": About("ratio", "needed", "likelihood", True, "perplexity"),
    "next_token_accuracy": About("ratio", "needed", "likelihood"),
}

TYPED: dict[str, About] = {
    "Regex": About("proportion", "not read"),
    "JSONSchema": About("proportion", "not read"),
    "Similarity": About("mean", "needed", "panel", unit="cosine"),
    "Judge": About("mean", "not read", "panel"),
    "Custom": About("mean", "not read", "panel"),
    "Pairwise": About("mean", "not read", "panel"),
    "Counterfactual": About("groups", "not read", "rows", True),
    "Drift": About("groups", "not read", "rows", True, "PSI"),
}


def about(name: str, kind: str = "") -> About:
    """What the metric of this name and type is."""
    return TYPED[kind] if kind else BUILT_IN[name]


def rows_without_target(metrics: Iterable[About]) -> Literal["no", "empty", "absent"]:
    """Whether rows may have no right answer: written as an empty one, or left away altogether."""
    reads = {one.targets for one in metrics}
    if "needed" in reads or not reads:
        return "no"
    return "empty" if "may be empty" in reads else "absent"
