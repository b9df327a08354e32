"""Prompt templates: Jinja2's notation, a small part of its language, and a bound on what rendering may cost.

    problems = check(spec.messages, spec.variables, extra={"context"})     before anything is released
    prompt = compile(spec.messages)                                        once, when the configuration changes
    prompt.render({"question": "..."})                                     for each request
    Filter(spec.index_ref.filter).render({"product": "..."})               a search's filter, of literals (narrow.py)

subset.py refuses, with a sentence, what a prompt does not need and an attacker would like: macros, includes, calls,
multiplication, attributes that begin with _. What is left is rewritten so that every loop step, every text that is
made and every character of output is charged to a budget (budget.py), so no template and no variable can hold a
gateway for longer than some tens of milliseconds, nor fill its memory. Templates that only put variables into text,
which most are, need no Jinja2 when they are rendered at all (a microsecond instead of fifteen).
"""

from llmops.api.templates.budget import MAX_OUTPUT, MAX_VARIABLES, MAX_WORK, Refused
from llmops.api.templates.narrow import Filter, check_filter
from llmops.api.templates.prompt import Problem, Prompt, Template, check, check_text, compile
from llmops.api.templates.subset import MAX_CODE, MAX_LOOPS, MAX_NODES

__all__ = [
    "MAX_CODE",
    "MAX_LOOPS",
    "MAX_NODES",
    "MAX_OUTPUT",
    "MAX_VARIABLES",
    "MAX_WORK",
    "Filter",
    "Problem",
    "Prompt",
    "Refused",
    "Template",
    "check",
    "check_filter",
    "check_text",
    "compile",
]
