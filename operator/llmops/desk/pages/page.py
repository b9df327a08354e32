"""The frame of a page and its drawings. Pure; autoescape is on, and drawings are made of numbers only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

STYLE = """
:root{--ink:#1d2433;--soft:#5b6472;--line:#d9dee6;--paper:#fff;--good:#2b8a3e;--bad:#c92a2a;--wait:#b0690a;--mark:#1864ab}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa4b2;--line:#343c49;--paper:#161a21;--good:#69db7c;
--bad:#ff8787;--wait:#ffc078;--mark:#74c0fc}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;
padding:0 1rem}h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}p{margin:.3rem 0}
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}
.badge{border:1px solid currentColor;border-radius:1rem;padding:.05rem .6rem;font-size:.85rem;vertical-align:middle}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th{text-align:left;color:var(--soft);font-weight:500}
td,th{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.85em;overflow-wrap:anywhere}
ol{list-style:none;margin:0;padding:0}ol li{border-left:3px solid var(--line);padding:.1rem 0 .7rem 1rem}
ol li.good{border-color:var(--good)}ol li.bad{border-color:var(--bad)}ol li.wait{border-color:var(--wait)}
ol li p{color:var(--ink)}svg{vertical-align:middle}.axis{stroke:var(--line)}.span{stroke:var(--mark);stroke-width:2}
.dot{fill:var(--mark)}.limit{stroke:var(--wait);stroke-width:2}footer{margin-top:3rem;font-size:.85rem}
"""
FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>{{ title }}</title>
<style>{{ style }}</style></head><body>{% block body %}{% endblock %}
<footer class="soft">{{ foot }}</footer></body></html>"""
WIDE, HIGH = 160, 18


def rendered(body: str, foot: str, **values: Any) -> str:
    """The whole page from a template of its body, which extends `frame`."""
    environment = Environment(
        loader=DictLoader({"frame": FRAME, "body": body}), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals.update(whisker=whisker, toward=toward)
    return environment.get_template("body").render(style=Markup(STYLE), foot=foot, **values)


def number(text: object) -> float | None:
    """What a status says, as a number; None where it is none."""
    try:
        found = float(str(text))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def whisker(one: Mapping[str, Any], low: float, high: float, zero: bool = False) -> Markup:
    """An interval and its value between `low` and `high`; nothing where a number is missing."""
    value, least, most = (number(one.get(name)) for name in ("value", "low", "high"))
    if value is None or least is None or most is None or high <= low:
        return Markup("")

    def at(x: float) -> float:
        return 4 + (min(max(x, low), high) - low) / (high - low) * (WIDE - 8)

    middle = f'<line class="limit" x1="{at(0):.1f}" y1="2" x2="{at(0):.1f}" y2="{HIGH - 2}"/>' if zero else ""
    return _drawing(
        f'<line class="axis" x1="0" y1="{HIGH / 2}" x2="{WIDE}" y2="{HIGH / 2}"/>{middle}'
        f'<line class="span" x1="{at(least):.1f}" y1="{HIGH / 2}" x2="{at(most):.1f}" y2="{HIGH / 2}"/>'
        f'<circle class="dot" cx="{at(value):.1f}" cy="{HIGH / 2}" r="4"/>'
    )


def toward(value: object, limit: object) -> Markup:
    """How far evidence has come, by its logarithm: the right end is where it decides."""
    now, wanted = number(value), number(limit)
    if now is None or wanted is None or wanted <= 1:
        return Markup("")
    share = min(1.0, max(0.0, math.log(max(now, 1e-9)) / math.log(wanted)))
    return _drawing(
        f'<line class="axis" x1="0" y1="{HIGH / 2}" x2="{WIDE}" y2="{HIGH / 2}"/>'
        f'<line class="limit" x1="{WIDE - 1}" y1="2" x2="{WIDE - 1}" y2="{HIGH - 2}"/>'
        f'<line class="span" style="stroke-width:8" x1="0" y1="{HIGH / 2}" x2="{share * WIDE:.1f}" y2="{HIGH / 2}"/>'
    )


def _drawing(inner: str) -> Markup:
    return Markup(f'<svg width="{WIDE}" height="{HIGH}" role="img" aria-hidden="true">{inner}</svg>')
