"""EvalJobs -> a page: one with all that is known of it, several as a matrix of metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmops.desk.pages.page import number, rendered

Object = Mapping[str, Any]
NOTHING: Object = dict.fromkeys(("value", "low", "high", "n", "p"))
TONES = {"Pass": "good", "Fail": "bad", "Inconclusive": "wait", "Error": "bad"}
ONE = """{% extends "frame" %}
{% macro side(one) %}{% if one %}{{ one.answer }}<br>
<span class="soft">{% for name, mark in one.marks | dictsort %}{{ name }} {{ "%.3g" | format(mark) }}
{% endfor %}</span>{% else %}–{% endif %}{% endmacro %}
{% block body %}
<p class="soft">EvalJob {{ namespace }}/{{ name }}</p>
<h1>{{ asked }} <span class="badge {{ tone }}">{{ verdict }}</span></h1>
<p>{{ said }}</p>
{% if thresholds %}<h2>What was to be reached</h2><div class="wide"><table>
<tr><th>metric<th>wanted<th class="n">measured<th class="n">interval</tr>
{% for one in thresholds %}<tr><td>{{ one.metric }}<td>{{ one.wanted }}<td class="n">{{ one.value }}
<td class="n">{{ one.interval }}</tr>{% endfor %}</table></div>{% endif %}
{% if metrics %}<h2>What was measured</h2><div class="wide"><table>
<tr><th>metric<th class="n">value<th class="n">interval<th><th class="n">rows<th></tr>
{% for one in metrics %}<tr><td>{{ one.name }}<td class="n">{{ one.value or "–" }}
<td class="n">{% if one.low %}{{ one.low }} … {{ one.high }}{% endif %}<td>{{ whisker(one, 0, one.top) }}
<td class="n">{{ one.n or "" }}<td class="soft">{{ one.said }}</tr>{% endfor %}</table></div>{% endif %}
{% if comparisons %}<h2>Against the baseline, on the same rows</h2><div class="wide"><table>
<tr><th>metric<th class="n">difference<th class="n">interval<th><th class="n">p<th class="n">rows</tr>
{% for one in comparisons %}<tr><td>{{ one.metric }}<td class="n">{{ one.value or "–" }}
<td class="n">{% if one.low %}{{ one.low }} … {{ one.high }}{% endif %}<td>{{ whisker(one, -one.top, one.top, true) }}
<td class="n">{{ one.p or "" }}<td class="n">{{ one.n or "" }}</tr>{% endfor %}</table></div>{% endif %}
{% if slices %}<h2>The worst parts</h2><div class="wide"><table>
<tr><th>rows with<th>metric<th class="n">measured<th class="n">rows</tr>
{% for one in slices %}<tr><td>{{ one.field }} = {{ one.value }}<td>{{ one.metric }}<td class="n">{{ one.measured }}
<td class="n">{{ one.n }}</tr>{% endfor %}</table></div>{% endif %}
{% if worst %}<h2>The worst rows</h2><div class="wide"><table>
<tr><th>asked<th>right<th>answered{% if baseline %}<th>the baseline answered{% endif %}</tr>
{% for one in worst %}<tr><td><span class="soft">{{ one.id }}</span><br>{{ one.input }}
<td>{% for each in one.targets %}{{ each }}<br>{% endfor %}<td>{{ side(one.target) }}
{% if baseline %}<td>{{ side(one.baseline) }}{% endif %}</tr>{% endfor %}</table></div>{% endif %}
{% if trend %}<h2>The last runs</h2><div class="wide"><table><tr><th>ended<th>verdict<th>measured</tr>
{% for one in trend %}<tr><td>{{ one.finishedAt }}<td>{{ one.verdict }}<td>
{% for each in one.metrics or [] %}{{ each.name }} {{ each.value }} {% endfor %}</tr>{% endfor %}</table></div>
{% endif %}
<h2>How</h2><div class="wide"><table>
{% for name, value in facts %}<tr><th>{{ name }}<td><code>{{ value }}</code></tr>{% endfor %}</table></div>
{% endblock %}"""
SEVERAL = """{% extends "frame" %}{% block body %}
<p class="soft">{{ jobs | length }} EvalJobs</p><h1>{{ title }}</h1>
<p>{{ rows_said }} Bold: the whole interval is better than every other's value.</p>
<div class="wide"><table><tr><th>metric{% for one in jobs %}<th>{{ one }}{% endfor %}</tr>
{% for name, cells in table %}<tr><td>{{ name }}{% for one in cells %}<td>{% if one.value %}
{% if one.best %}<b>{{ one.value }}</b>{% else %}{{ one.value }}{% endif %}
&nbsp; <span class="soft">{{ one.low }} … {{ one.high }}</span><br>{{ whisker(one, 0, one.top) }}{% else %}–{% endif %}
{% endfor %}</tr>{% endfor %}</table></div>{% endblock %}"""
FOOT = (
    "llmops report: what the object's status and its results say. All answers are beside the log that spec.keep keeps."
)


def page(one: Object, worst: Sequence[Object] = ()) -> str:
    """Of one EvalJob, whatever it has reported, and the rows that its results tell."""
    spec, status, metadata = one.get("spec") or {}, one.get("status") or {}, one["metadata"]
    measured = [_measured(each) for each in status.get("metrics") or []]
    compared = [_compared(each) for each in status.get("comparisons") or []]
    by_name = {each["name"]: each for each in measured}
    verdict = status.get("verdict") or status.get("phase") or "nothing reported yet"
    slices = [{"measured": "", "n": "", **each} for each in status.get("slices") or []]
    return rendered(
        ONE, FOOT, title=f"{metadata['name']}: {verdict}", namespace=metadata.get("namespace", ""),
        name=metadata["name"], asked=_asked(spec), verdict=verdict, tone=TONES.get(verdict, "wait"),
        said=_said(status), metrics=measured, comparisons=compared, slices=slices,
        worst=[{"baseline": None, **each} for each in worst], baseline=any("baseline" in each for each in worst),
        trend=list(reversed(status.get("trend") or [])), facts=_facts(spec, status),
        thresholds=[_wanted(each, by_name, compared) for each in spec.get("thresholds") or []],
    )  # fmt: skip


def matrix(jobs: Sequence[Object]) -> str:
    """Of several, side by side; only what ran over the same rows can be compared at all."""
    labels = [each["metadata"]["name"] for each in jobs]
    found = [{one["name"]: _measured(one) for one in (each.get("status") or {}).get("metrics") or []} for each in jobs]
    shas = {((each.get("status") or {}).get("dataset") or {}).get("sha256") for each in jobs}
    same = len(shas) == 1 and None not in shas
    told = "All ran over the same rows." if same else "They did not run over the same rows: compare with care."
    names = list(dict.fromkeys(name for each in found for name in each))
    table = [(name, _cells([each.get(name, {}) for each in found], same)) for name in names]
    return rendered(SEVERAL, FOOT, title=" · ".join(labels), jobs=labels, table=table, rows_said=told)


def _cells(cells: Sequence[Object], same: bool) -> list[Object]:
    top = max((float(one["top"]) for one in cells if one), default=1.0)
    best = [same and _best(place, cells) for place in range(len(cells))]
    return [{"value": None, **one, "top": top, "best": won} for one, won in zip(cells, best, strict=True)]


def _best(place: int, cells: Sequence[Object]) -> bool:
    """Surely better than the others: a difference that the interval allows to be none marks nobody."""
    less, mine = any(one.get("lessIsBetter") for one in cells), cells[place]
    edge = number(mine.get("high" if less else "low"))
    others = [number(one.get("value")) for at, one in enumerate(cells) if at != place]
    if edge is None or not others or None in others:
        return False
    return all(edge < other if less else edge > other for other in others if other is not None)


def _measured(one: Object) -> dict[str, Any]:
    said = [f"{name} {one[name]}" for name in ("p50", "p95") if one.get(name)]
    said += [str(one["note"])] if one.get("note") else []
    high = number(one.get("high")) or number(one.get("value")) or 1.0
    return {**NOTHING, **one, "top": max(1.0, high), "said": "; ".join(said)}


def _compared(one: Object) -> dict[str, Any]:
    ends = [abs(number(one.get(name)) or 0.0) for name in ("low", "high")]
    return {**NOTHING, **one, "value": one.get("delta"), "top": max(*ends, 0.01)}


def _wanted(one: Object, measured: Mapping[str, Object], compared: Sequence[Object]) -> Object:
    drop = one.get("maxDrop")
    found: Object = next((each for each in compared if each["metric"] == one["metric"]), {}) if drop else {}
    found = found or (measured.get(one["metric"], {}) if not drop else {})
    bound = f"no more than {drop} worse than the baseline" if drop else _bound(one)
    interval = f"{found['low']} … {found['high']}" if found.get("low") else ""
    sure = f" (at confidence {one.get('confidence', '0.95')})"
    return {"metric": one["metric"], "wanted": bound + sure, "value": found.get("value") or "–", "interval": interval}


def _bound(one: Object) -> str:
    return f"at least {one['min']}" if one.get("min") else f"at most {one.get('max')}"


def _asked(spec: Object) -> str:
    target = spec.get("target") or {}
    for kind in ("serviceRef", "promptRef"):
        if target.get(kind):
            more = target[kind].get("version") or target[kind].get("revision") or ""
            return f"{target[kind]['name']} {str(more)[:10]}".strip()
    return str(target.get("model") or "a template")


def _said(status: Object) -> str:
    told = {each["type"]: each.get("message") or "" for each in status.get("conditions") or []}
    return str(told.get("ThresholdsMet") or told.get("Ready") or "")


def _facts(spec: Object, status: Object) -> list[tuple[str, Any]]:
    progress, dataset = status.get("progress") or {}, status.get("dataset") or {}
    facts = {
        "baseline": _asked({"target": spec["baseline"]}) if spec.get("baseline") else None,
        "rows": dataset.get("rows"),
        "SHA-256 of the rows": dataset.get("sha256"),
        "run": status.get("runKey"),
        "began": status.get("startedAt"),
        "ended": status.get("finishedAt"),
        "errors": progress.get("errors"),
        "cost": progress.get("cost"),
        "results": status.get("results"),
    }
    return [(name, value) for name, value in facts.items() if value not in (None, "")]
