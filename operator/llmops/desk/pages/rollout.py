"""A release, or a model's rollout -> a page: where it stands, what speaks for and against, what happened when. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmops.desk.pages.page import rendered

Object = Mapping[str, Any]
TONES = {"Released": "good", "Rejected": "bad", "RollingBack": "bad", "Holding": "wait"}
BAD = ("Rejected", "Retried")
PAGE = """{% extends "frame" %}{% block body %}
<p class="soft">{{ kind }} {{ namespace }}/{{ name }}</p>
<h1>{{ title }} <span class="badge {{ tone }}">{{ phase }}</span></h1>
<p>{{ said }}</p>
<div class="wide"><table>
{% for what, value in stands %}<tr><th>{{ what }}<td>{{ value }}</tr>{% endfor %}</table></div>
{% if evidence %}<h2>What its users' answers say</h2>
<p class="soft">Evidence grows as failures are told; where a bar reaches its end, it decides. See docs/evidence.md.</p>
<div class="wide"><table><tr><th>signal<th class="n">failed with the candidate<th class="n">with stable
<th>it is worse<th class="n"><th>it is no worse<th class="n"></tr>
{% for one in evidence %}<tr><td>{{ one.signal }}<td class="n">{{ one.candidate }}<td class="n">{{ one.stable }}
<td>{{ toward(one.eValue, one.rollbackAt) }}<td class="n">{{ one.eValue }} of {{ one.rollbackAt }}
<td>{{ toward(one.notWorse, one.advanceAt) }}<td class="n">
{% if one.notWorse %}{{ one.notWorse }} of {{ one.advanceAt }}{% endif %}</tr>{% endfor %}</table></div>{% endif %}
<h2>What happened</h2><ol>
{% for one in moments %}<li class="{{ one.tone }}"><span class="soft">{{ one.at }}</span> <b>{{ one.what }}</b>
<p>{{ one.said }}</p></li>{% else %}<li>Nothing yet.</li>{% endfor %}</ol>{% endblock %}"""
FOOT = "llmops report: from the object's status and its events. The cluster forgets events after an hour or so; what a \
rollout ended with stays in its history."


def page(one: Object, events: Sequence[Object] = ()) -> str:
    """Of an object with a rollout, and what the cluster still knows of what happened to it."""
    metadata, status = one["metadata"], one.get("status") or {}
    candidate, phase = status.get("candidate") or {}, status.get("phase") or "nothing reported yet"
    blank = dict.fromkeys(("candidate", "stable", "eValue", "rollbackAt", "notWorse", "advanceAt"))
    evidence = [{**blank, **each} for each in candidate.get("evidence") or []]
    return rendered(
        PAGE, FOOT, title=f"{metadata['name']} {_version(candidate or status.get('stable') or {})}".strip(),
        kind=one["kind"], namespace=metadata.get("namespace", ""), name=metadata["name"], phase=phase,
        tone=TONES.get(phase, "wait"), said=_said(status), stands=_stands(status), evidence=evidence,
        moments=sorted([*_ends(status), *map(_event, events)], key=lambda each: each["at"], reverse=True),
    )  # fmt: skip


def _version(what: Object) -> str:
    return str(what.get("version") or (what.get("digest") or "")[:10])


def _said(status: Object) -> str:
    ready: list[Object] = [each for each in status.get("conditions") or [] if each["type"] == "Ready"]
    return str(ready[0].get("message") or "") if ready else ""


def _stands(status: Object) -> list[tuple[str, str]]:
    stable, candidate = status.get("stable") or {}, status.get("candidate") or {}
    told = []
    if stable:
        since = f" since {stable['since']}" if stable.get("since") else ""
        told.append(("users get", f"{_version(stable)} ({stable.get('digest', '')[:10]}){since}"))
    if candidate:
        met = f", {candidate['units']} met it" if candidate.get("units") is not None else ""
        share = f"{candidate.get('weight', 0)}% of users{met}; attempt {candidate.get('attempt', 1)}"
        told.append(("on its way", f"{_version(candidate)} ({candidate.get('digest', '')[:10]}): {share}"))
        told += [("its evaluation", str(candidate["score"]))] if candidate.get("score") else []
        told += [("next step", f"about {candidate['eta']}")] if candidate.get("eta") else []
    return told


def _ends(status: Object) -> list[dict[str, str]]:
    return [
        {
            "at": str(one.get("at") or ""), "what": f"{_version(one)} {str(one.get('outcome') or '').lower()}",
            "said": str(one.get("message") or ""), "tone": "bad" if one.get("outcome") in BAD else "good",
        }
        for one in status.get("history") or []
    ]  # fmt: skip


def _event(one: Object) -> dict[str, str]:
    at = str(one.get("eventTime") or one.get("deprecatedFirstTimestamp") or "")[:19]
    times = (one.get("series") or {}).get("count")
    said = f"{one.get('note') or ''}" + (f" ({times} times)" if times else "")
    tone = "wait" if one.get("type") == "Warning" else ""
    return {"at": f"{at}Z" if at else "", "what": str(one.get("reason") or ""), "said": said, "tone": tone}
