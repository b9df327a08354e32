"""Which part of Jinja2 a prompt may use, checked on the syntax tree; and the rewriting that charges what is left.

Allowed is what is listed; a new node type in a later Jinja2 is refused until it is listed here. The rewriting turns
every operation whose cost depends on its values into a call of budget.py: `a ~ b` -> `_cat(a, b)`, `for x in y` ->
`for x in _steps(y, cost of the body)`, `{{ x }}` -> `{{ _out(x) }}`. Names that begin with _ are refused, so a
template cannot reach those functions itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from llmops.api.templates.budget import FILTERS, MAX_RANGE, METHODS

MAX_CODE = 8 * 1024
MAX_NODES = 2_000
MAX_LOOPS = 3
MAX_NESTING = 60

TESTS = frozenset({
    "defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping",
    "sequence", "even", "odd",
})  # fmt: skip

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.For, nodes.Assign,
    nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Call, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Concat, nodes.Add, nodes.Sub, nodes.Div, nodes.FloorDiv,
    nodes.Neg, nodes.Pos, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair,
)  # fmt: skip

_INSTEAD: dict[type[nodes.Node], str] = {
    nodes.Include: "include reads other templates: write its text here",
    nodes.Import: "import reads other templates: write its text here",
    nodes.FromImport: "import reads other templates: write its text here",
    nodes.Extends: "extends reads other templates: write its text here",
    nodes.Block: "block belongs to extends: write the text without it",
    nodes.Macro: "a macro can call itself for ever: write its text where it is needed",
    nodes.CallBlock: "call needs a macro: write the text where it is needed",
    nodes.Mul: "* can make a text of any length: write the text out",
    nodes.Pow: "** can make a number of any length: write the number out",
    nodes.Mod: "% can make a text of any length: use ~ to join texts",
    nodes.FilterBlock: "a filter block is not for prompts: use the filter on a variable",
    nodes.AssignBlock: "a set block is not for prompts: write {% set name = value %}",
    nodes.With: "with is not for prompts: use {% set name = value %}",
}

_CODE = re.compile(r"\{[{%].*?(?:[%}]\}|\Z)", re.DOTALL)
LOOP = frozenset({"index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem"})


def too_much_code(text: str) -> str | None:
    """Before parsing: parsing costs time by the length of what stands between the brackets."""
    length = sum(len(match[0]) for match in _CODE.finditer(text))
    length += 4 * text.count("{#")  # a comment's text is free, but 16,000 empty ones took 250 ms
    if length <= MAX_CODE:
        return None
    return f"has {length:,} characters between {{{{ }}}} and {{% %}}, above {MAX_CODE:,}: move text out of the brackets"


def refusals(tree: nodes.Template) -> Iterator[str]:
    """What the template uses and may not, in sentences."""
    for count, (node, loops, nesting) in enumerate(_walk(tree, 0, 0)):
        if count >= MAX_NODES:
            yield f"has more than {MAX_NODES:,} parts: write a shorter one"
            return
        if nesting > MAX_NESTING:
            yield f"is nested more than {MAX_NESTING} deep: take it apart"
            return
        if isinstance(node, nodes.For) and loops > MAX_LOOPS:
            yield f"has loops more than {MAX_LOOPS} deep: at most {MAX_LOOPS} loops in one another"
        said = _refusal(node)
        if said:
            yield said


def _walk(node: nodes.Node, loops: int, nesting: int) -> Iterator[tuple[nodes.Node, int, int]]:
    loops += isinstance(node, nodes.For)
    yield node, loops, nesting
    if nesting <= MAX_NESTING:
        for child in node.iter_child_nodes():
            yield from _walk(child, loops, nesting + 1)


def _refusal(node: nodes.Node) -> str | None:
    if not isinstance(node, _ALLOWED):
        name = type(node).__name__.lower()
        return _INSTEAD.get(type(node), f"uses {name}, which prompts cannot")
    check = _CHECKS.get(type(node))
    return check(node) if check else None


def _name(node: Any) -> str | None:
    return f"reads {node.name}: names that begin with _ are not variables" if node.name.startswith("_") else None


def _attribute(node: Any) -> str | None:
    return f"reads .{node.attr}: names that begin with _ are not fields" if node.attr.startswith("_") else None


def _item(node: Any) -> str | None:
    key = node.arg.value if isinstance(node.arg, nodes.Const) else ""
    return f"reads [{key!r}]: names that begin with _ are not fields" if str(key).startswith("_") else None


def _loop(node: Any) -> str | None:
    if node.recursive:
        return "has a recursive loop, which can go on for ever: write the levels out"
    if isinstance(node.iter, nodes.Call):
        return _too_long(node.iter)
    return None


def _assignment(node: Any) -> str | None:
    return (
        None if isinstance(node.target, nodes.Name) else "sets more than one plain name: write {% set name = value %}"
    )


def _filtered(node: Any) -> str | None:
    if node.name not in FILTERS:
        return f"uses the filter {node.name}, which prompts cannot; there are {', '.join(sorted(FILTERS))}"
    return _plain(node, f"the filter {node.name}")


def _tested(node: Any) -> str | None:
    return (
        None
        if node.name in TESTS
        else f"uses the test {node.name}, which prompts cannot; there are {', '.join(sorted(TESTS))}"
    )


def _call(node: Any) -> str | None:
    if isinstance(node.node, nodes.Name) and node.node.name == "range":
        return _too_long(node) or _plain(node, "range()")
    if isinstance(node.node, nodes.Getattr) and node.node.attr in METHODS:
        return _plain(node, f"{node.node.attr}()")
    called = getattr(node.node, "attr", None) or getattr(node.node, "name", "something")
    return f"calls {called}(), which prompts cannot; there are range(), {', '.join(f'.{name}()' for name in METHODS)}"


def _plain(node: Any, what: str) -> str | None:
    if node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
        return f"gives named or starred arguments to {what}: give them in order"
    return None


def _too_long(node: Any) -> str | None:
    length = turns(node)
    return (
        f"has range() of {length:,} numbers, above {MAX_RANGE:,}" if length is not None and length > MAX_RANGE else None
    )


_CHECKS: dict[type[nodes.Node], Any] = {
    nodes.Name: _name, nodes.Getattr: _attribute, nodes.Getitem: _item, nodes.For: _loop, nodes.Assign: _assignment,
    nodes.Filter: _filtered, nodes.Test: _tested, nodes.Call: _call,
}  # fmt: skip


def turns(node: nodes.Node) -> int | None:
    """How long a range() of constants is; None where that cannot be known."""
    if not (isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range"):
        return None
    bounds = [arg.value for arg in node.args if isinstance(arg, nodes.Const)]
    if len(bounds) != len(node.args) or not all(isinstance(bound, int) for bound in bounds):
        return None
    try:
        return len(range(*bounds))
    except (TypeError, ValueError):
        return None
    except OverflowError:
        return MAX_RANGE + 1


def cost(node: nodes.Node, longest: Mapping[str, int]) -> int:
    """Units that one rendering takes, loops over constants and over lists of known length multiplied out."""
    inner = sum(cost(child, longest) for child in node.iter_child_nodes())
    if isinstance(node, nodes.TemplateData):
        return 1 + (len(node.data) >> 5)
    if isinstance(node, nodes.For):
        known = turns(node.iter)
        if known is None and isinstance(node.iter, nodes.Name):
            known = longest.get(node.iter.name)
        return 1 + inner * (1 if known is None else known)
    return 1 + inner


class Charged(NodeTransformer):
    """The rewriting; only for trees without refusals."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        """Every turn pays for its body."""
        each = sum(cost(child, {}) for child in [*node.body, *([node.test] if node.test else [])])
        self.generic_visit(node)
        node.iter = _calling("_steps", node.iter, nodes.Const(1 + each))
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        """Expressions are charged when they are written; text was when the template was accepted."""
        self.generic_visit(node)
        node.nodes = [one if isinstance(one, nodes.TemplateData) else _calling("_out", one) for one in node.nodes]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:
        """a ~ b"""
        self.generic_visit(node)
        return _calling("_cat", *node.nodes)

    def visit_Add(self, node: nodes.Add) -> nodes.Expr:
        """a + b"""
        self.generic_visit(node)
        return _calling("_add", node.left, node.right)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:
        """Both sides are looked at."""
        self.generic_visit(node)
        node.expr = _calling("_charge", node.expr)
        for operand in node.ops:
            operand.expr = _calling("_charge", operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        """A slice copies."""
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _calling("_charge", node.node)
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Expr:
        """x|upper"""
        self.generic_visit(node)
        subject = node.node if node.node is not None else nodes.Const("")
        return _calling("_filter", subject, nodes.Const(node.name), *node.args)

    def visit_Call(self, node: nodes.Call) -> nodes.Expr:
        """range() and the methods."""
        self.generic_visit(node)
        if isinstance(node.node, nodes.Getattr):
            return _calling("_method", node.node.node, nodes.Const(node.node.attr), *node.args)
        return _calling("_range", *node.args)


def _calling(function: str, *args: nodes.Node) -> nodes.Call:
    return nodes.Call(nodes.Name(function, "load"), [cast(nodes.Expr, arg) for arg in args], [], None, None)
