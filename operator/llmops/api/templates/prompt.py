"""From a text to a Template, from messages to a Prompt; what is wrong with either, as Problems."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2 import Template as JinjaTemplate
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmops.api.templates import subset
from llmops.api.templates.budget import MAX_WORK, Budget, Refused, weigh


class _Message(Protocol):
    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...


AnyMessage = _Message | Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one message; `place` counts from 1."""

    place: int
    says: str

    def __str__(self) -> str:
        return f"message {self.place} {self.says}"


class _Environment(ImmutableSandboxedEnvironment):
    """Values are JSON's: a name after a dot is a key, never an attribute of a Python object."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, dict | list | tuple | str):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        return self.undefined(obj=obj, name=argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext):
            return getattr(obj, attribute) if attribute in subset.LOOP else self.undefined(obj=obj, name=attribute)
        return self.getitem(obj, attribute)

    def call(self, context: Any, obj: Any, *args: Any, **_: Any) -> Any:
        return obj(*args)  # after the rewriting, only Budget's functions are ever called


_ENVIRONMENT = _Environment(undefined=StrictUndefined, autoescape=False, optimized=False)
_ENVIRONMENT.globals.clear()
RUNTIME = (
    TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, StopIteration, RecursionError,
)  # fmt: skip
_OURS = frozenset(Budget().functions())


class Template:
    """One text, compiled. `reads` are the variables it needs."""

    __slots__ = ("_jinja", "_parts", "reads")

    def __init__(self, text: str) -> None:
        """Refused says why it cannot be used, as the end of a sentence that begins with its place."""
        tree = parsed(text)
        self._parts = _plain(tree)
        charged = subset.Charged().visit(tree)
        self.reads: frozenset[str] = frozenset(meta.find_undeclared_variables(charged)) - _OURS
        self._jinja = None if self._parts is not None else _compiled(charged)

    @property
    def plain(self) -> bool:
        """Whether it only puts variables into text, so that Jinja2 is not needed to render it."""
        return self._parts is not None

    def render(self, variables: Mapping[str, Any], budget: Budget, functions: Mapping[str, Any]) -> str:
        """The text; Refused or jinja2's TemplateError when it cannot be made of these variables."""
        if self._parts is not None:
            return "".join([part if made else _given(variables, part, budget) for made, part in self._parts])
        assert self._jinja is not None
        return self._jinja.render({**variables, **functions})


class Prompt:
    """Messages, compiled."""

    __slots__ = ("_messages", "_plain", "reads")

    def __init__(self, messages: Iterable[tuple[str, Template]]) -> None:
        self._messages = tuple(messages)
        self._plain = all(template.plain for _, template in self._messages)
        self.reads: frozenset[str] = frozenset().union(*(template.reads for _, template in self._messages))

    def render(self, variables: Mapping[str, Any]) -> list[dict[str, str]]:
        """The messages of a request; Refused says which message and why."""
        weigh(variables)
        budget = Budget()
        functions = {} if self._plain else budget.functions()
        return [
            {"role": role, "content": _render(place, template, variables, budget, functions)}
            for place, (role, template) in enumerate(self._messages, start=1)
        ]


def compile(messages: Sequence[AnyMessage]) -> Prompt:
    """Ready to be rendered; Refused names the first message that cannot be used."""
    made = []
    for place, (role, content) in enumerate(map(_read, messages), start=1):
        try:
            made.append((role, Template(content)))
        except Refused as refused:
            raise Refused(f"message {place} {refused}") from None
    return Prompt(made)


def check(
    messages: Sequence[AnyMessage], schema: Mapping[str, Any] | None, extra: Set[str] = frozenset()
) -> list[Problem]:
    """Everything wrong with these templates; `extra` are variables that somebody else gives (passages, steps)."""
    texts = [content for _, content in map(_read, messages)]
    return [
        Problem(place, says) for place, text in enumerate(texts, start=1) for says in check_text(text, schema, extra)
    ]


def check_text(text: str, schema: Mapping[str, Any] | None, extra: Set[str] = frozenset()) -> list[str]:
    """As `check`, for one text; each sentence goes on after its place ("message 2 ...")."""
    try:
        tree = parsed(text)
        said = list(_over(subset.cost(tree, _longest(schema))))
        template = Template(text)
    except Refused as refused:
        return [str(refused)]
    known = {*declared(schema), *extra}
    return said + [_undeclared(name, known) for name in sorted(template.reads - known)]


def _read(message: AnyMessage) -> tuple[str, str]:
    if isinstance(message, Mapping):
        return message["role"], message["content"]
    return message.role, message.content


def parsed(text: str) -> nodes.Template:
    """The syntax tree; Refused for what a template may not have."""
    said = subset.too_much_code(text)
    if said:
        raise Refused(said)
    try:
        tree = _ENVIRONMENT.parse(text)
        refused = list(dict.fromkeys(subset.refusals(tree)))
    except TemplateSyntaxError as error:
        raise Refused(f"cannot be parsed, line {error.lineno}: {error.message}") from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise Refused(f"cannot be parsed: {error or 'it is nested too deep'}") from None
    if refused:
        raise Refused("; ".join(refused[:3]))
    for said in _over(subset.cost(tree, {})):
        raise Refused(said)
    return tree


def _over(units: int) -> list[str]:
    said = f"would take {units:,} steps, above {MAX_WORK:,}: use fewer or shorter loops"
    return [said] if units > MAX_WORK else []


def _compiled(tree: nodes.Template) -> JinjaTemplate:
    try:
        code = _ENVIRONMENT.compile(tree)
    except (SyntaxError, RecursionError, MemoryError, TemplateError) as error:
        raise Refused(f"cannot be compiled: {error}") from None
    return JinjaTemplate.from_code(_ENVIRONMENT, code, {})


def _plain(tree: nodes.Template) -> list[tuple[bool, str]] | None:
    """(True, text) and (False, variable) in order, when that is all there is."""
    parts: list[tuple[bool, str]] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                parts.append((True, node.data))
            elif isinstance(node, nodes.Name):
                parts.append((False, node.name))
            else:
                return None
    return parts


def _given(variables: Mapping[str, Any], name: str, budget: Budget) -> str:
    try:
        return budget.out(variables[name])
    except KeyError:
        raise UndefinedError(f"{name!r} is undefined") from None


def _render(
    place: int, template: Template, variables: Mapping[str, Any], budget: Budget, functions: Mapping[str, Any]
) -> str:
    try:
        return template.render(variables, budget, functions)
    except UndefinedError as error:
        raise Refused(f"message {place} reads something that was not given: {error.message}") from None
    except Refused as refused:
        raise Refused(f"message {place}: {refused}") from None
    except RUNTIME as error:
        raise Refused(f"message {place} cannot be rendered: {error or type(error).__name__}") from None


def declared(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The variables of a release, each with its schema."""
    properties = (schema or {}).get("properties", {})
    return properties if isinstance(properties, Mapping) else {}


def _longest(schema: Mapping[str, Any] | None) -> dict[str, int]:
    given = {name: one.get("maxItems") for name, one in declared(schema).items() if isinstance(one, Mapping)}
    return {name: longest for name, longest in given.items() if isinstance(longest, int)}


def _undeclared(name: str, known: Set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"reads {{{{ {name} }}}}, which spec.variables does not declare{meant}; add it under properties or remove it"
