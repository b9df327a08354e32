"""What was answered, and what became of it: the marks, and the reasons of those that are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """One row's answer by one arm. A metric stands in `marks` or, with the reason, in `lacks`."""

    text: str
    marks: Mapping[str, float]
    lacks: Mapping[str, str] = field(default_factory=dict)
    sums: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of ratios
    given: str = ""  # what the model was given: the rendered messages of a prompt that retrieves

    def with_marks(
        self,
        marks: Mapping[str, float],
        lacks: Mapping[str, str] | None = None,
        sums: Mapping[str, tuple[float, float]] | None = None,
    ) -> Answer:
        """The same answer, known better."""
        return Answer(
            self.text,
            {**self.marks, **marks},
            {**self.lacks, **(lacks or {})},
            {**self.sums, **(sums or {})},
            self.given,
        )


@dataclass(frozen=True)
class Answers:
    """One arm's answers by row id; the rows that erred are not among them."""

    by_id: Mapping[str, Answer]
    errors: int
    first_error: str | None = None
    tokens: int = 0
