"""What a request asks for: a service by `model`, or a version of a release by `prompt`; and for whom it counts.

    model: support | shop/support                          the service, the caller's own messages
    model: support:tone                                    one of its adapters
    model: support@stable | support@candidate | support@<digest>           that revision; never counts as evidence
    prompt: {id: support-answer, variables: {...}}         the release's stable or candidate version, by user
    prompt: {id: ..., version: stable | candidate | 2.1.0 | <digest>}      that version; never counts as evidence
    prompt: {id: ..., groups: [staff]}                     finding only what these of the key's groups may see
    prompt: {id: ..., tenant: acme}                        finding only this one's documents, of the key's tenants

A prompt brings its messages and its parameters. The request's own `messages` come after them (user, assistant and tool
only); parameters of generation in the request are refused, because what answers users must be what was evaluated.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmops.api import names
from llmops.gateway import groups, tenants
from llmops.gateway.auth import Caller
from llmops.gateway.errors import BadRequest, NotAllowed, NotReady, Refusal, Unknown
from llmops.gateway.snapshot import CANDIDATE, STABLE, Admission, Release, Service, Snapshot, Sticky, Version
from llmops.gateway.tenants import Whose
from llmops.rollout.split import bucket, is_shadowed, meets_candidate

PINNED = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "response_format",
        "n",
    }
)
EVAL_SUFFIX = "-eval"
SHORTEST_PREFIX = 8
GENERATE, EMBED = "Generate", "Embed"


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a rollout that this request is: evidence, if it is answered or fails. `digest` is the candidate's;
    an answer that takes more seconds than `slow` fails Latency."""

    digest: str
    attempt: int
    weight: int
    unit: str
    slow: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A version of a release for this request. `share` is None where it is no evidence; `unseen` is given where the
    candidate answers it too, afterwards (shadow.py)."""

    release: Release
    version: Version
    variant: str
    unit_source: str
    share: Share | None
    unseen: Share | None = None
    groups: tuple[str, ...] = ()
    """Of who asks: what the version's index may find."""
    whose: Whose = field(default_factory=Whose)
    """And whose documents."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A revision of a service for this request, drawn by its user."""

    service: Service
    variant: str
    digest: str
    unit_source: str
    share: Share
    subject: str


def service(snapshot: Snapshot, caller: Caller, model: object, task: str) -> Service:
    """The service that `model` names, if this caller may use it for this."""
    if not isinstance(model, str) or not model:
        raise BadRequest(
            "`model` is missing: write an LLMService's name, such as support or shop/support, or use "
            "`prompt` in extra_body",
            code="model_missing",
            param="model",
        )
    namespace, name = _qualified(model, caller)
    name, _, wanted = name.partition("@")
    name = name.partition(":")[0]
    found = snapshot.services.get(names.qualified(namespace, name))
    if found is None or not found.admission.admits(caller.namespace):
        raise Unknown(
            f"no LLMService {names.qualified(namespace, name)} is there for namespace {caller.namespace}: "
            "GET /v1/models lists what is; or let its spec.access admit this namespace",
            code="model_not_found",
            param="model",
        )
    _opened(caller, "model", namespace, name, found.admission, f"LLMService {found.name}")
    return _revision(usable(found, task), wanted, caller) if wanted else usable(found, task)


def adapter(found: Service, model: object) -> str:
    """The adapter that `model` names; empty: none."""
    name = str(model).partition("@")[0].partition(":")[2]
    if name:
        has_adapter(found, name, Unknown, "adapter_not_found")
    return name


def has_adapter(found: Service, name: str, refusal: type[Refusal], code: str) -> None:
    """Or the refusal that says which there are."""
    if name not in found.adapters:
        has = ", ".join(f"{found.name}:{one}" for one in sorted(found.adapters)) or "none"
        raise refusal(
            f"no pods of LLMService {found.name} have an adapter {name!r}; there is {has}: write one of these, or add "
            "it to spec.model.adapters and wait until the service is Ready",
            code=code,
        )


def usable(found: Service, task: str) -> Service:
    """The service, if it does this at all."""
    if found.task != task:
        does = {GENERATE: "/v1/chat/completions", EMBED: "/v1/embeddings"}.get(found.task, "reranking")
        raise BadRequest(
            f"LLMService {found.name} has task {found.task}: ask it through {does}, or name a service with task {task}",
            code="wrong_task",
            param="model",
        )
    return found


def _revision(found: Service, wanted: str, caller: Caller) -> Service:
    """One revision of a service, by `model: name@…`; it never counts as evidence."""
    split = found.split
    if wanted == STABLE or (split is not None and _begins(split.stable, wanted)):
        return replace(found, split=None)
    if split is None or split.candidate is None or not (wanted == CANDIDATE or _begins(split.digest, wanted)):
        raise Unknown(
            f"LLMService {found.name} serves no revision {wanted!r}: write {found.name}@stable, {found.name}@candidate "
            f"or at least {SHORTEST_PREFIX} characters of the digest of one of the two",
            code="revision_not_found",
            param="model",
        )
    if not split.weight and not _evaluates(found.name, caller):
        raise NotAllowed(
            f"revision {wanted!r} of LLMService {found.name} is a candidate that no user meets: only its evaluation "
            "may ask it",
            code="candidate_unseen",
            param="model",
        )
    return replace(split.candidate, fallbacks=())


def answering(found: Service, version: Version) -> Service:
    """What answers a version; where it was released with a revision, the service's own rollout has no say in it."""
    return usable(_pinned_to(found, version.revision) if version.revision else found, GENERATE)


def _pinned_to(found: Service, begins: str) -> Service:
    for digest, one in found.pinned.items():
        if digest.startswith(begins):
            return one
    raise NotReady(
        f"LLMService {found.name} has no pods of its revision {begins}, which this prompt was released with: its "
        "status.pinned says why",
        code="revision_not_ready",
        retry_after=5,
    )


def _begins(digest: str | None, wanted: str) -> bool:
    return digest is not None and len(wanted) >= SHORTEST_PREFIX and digest.startswith(wanted)


def revision(
    found: Service, adapter: str, body: Mapping[str, Any], headers: Mapping[bytes, bytes], caller: Caller, leased: bool
) -> Draw | None:
    """Which revision of a service answers, where users of it are split; what only one can answer tells nothing."""
    split = found.split
    if split is None or split.candidate is None or split.digest is None or not split.weight or not leased:
        return None
    if adapter and adapter not in split.candidate.adapters:
        return None
    source, unit = _unit(split.sticky, body, headers, caller)
    chosen = meets_candidate(bucket(split.subject, split.digest, split.attempt, unit), split.weight)
    share = Share(split.digest, split.attempt, split.weight, unit_hash(unit), split.slow)
    if chosen:
        return Draw(split.candidate, CANDIDATE, split.digest, source, share, split.subject)
    return Draw(found, STABLE, split.stable or "", source, share, split.subject)


def version(
    snapshot: Snapshot, caller: Caller, body: Mapping[str, Any], headers: Mapping[bytes, bytes], leased: bool
) -> Choice:
    """The version that answers `prompt`. `leased`: the split is fresh enough to send anybody to a candidate."""
    prompt = body["prompt"]
    release = _release(snapshot, caller, prompt)
    _refuse_pinned(body, release)
    wanted = prompt.get("version")
    if wanted is not None:
        chosen = _pinned(release, str(wanted), caller)
    else:
        chosen = _drawn(release, body, headers, caller, leased)
    namespace = release.name.partition("/")[0]
    who = caller, namespace, prompt, _evaluates(release.name, caller)
    return replace(chosen, groups=groups.of(*who), whose=tenants.of(*who))


def _release(snapshot: Snapshot, caller: Caller, prompt: object) -> Release:
    if not isinstance(prompt, dict) or not isinstance(prompt.get("id"), str) or not prompt["id"]:
        raise BadRequest(
            "`prompt` must be an object with the id of a PromptRelease, such as "
            '{"id": "support-answer", "variables": {…}}',
            code="prompt_invalid",
            param="prompt.id",
        )
    namespace, name = _qualified(prompt["id"], caller)
    found = snapshot.releases.get(names.qualified(namespace, name))
    if found is None or not found.admission.admits(caller.namespace):
        raise Unknown(
            f"no PromptRelease {names.qualified(namespace, name)} is there for namespace {caller.namespace}: "
            "check prompt.id, or let its spec.access admit this namespace",
            code="prompt_not_found",
            param="prompt.id",
        )
    _opened(caller, "prompt", namespace, name, found.admission, f"PromptRelease {found.name}")
    return found


def _opened(caller: Caller, kind: str, namespace: str, name: str, admission: Admission, what: str) -> None:
    if caller.holder is not None:
        if not caller.holder.opens_to(kind, namespace, name):
            entry = f"{'prompt:' if kind == 'prompt' else ''}{namespace}/{name}"
            raise NotAllowed(
                f"GatewayKey {caller.identity} does not open {what}: add {entry!r} to its spec.models",
                code="model_not_allowed",
                param="prompt.id" if kind == "prompt" else "model",
            )
    elif not admission.service_accounts:
        raise NotAllowed(
            f"{what} admits keys only (spec.access.serviceAccounts is Deny): send a GatewayKey's key",
            code="service_account_denied",
        )


def _refuse_pinned(body: Mapping[str, Any], release: Release) -> None:
    """Refused rather than ignored, and whatever their value: the same request must fare the same with every version."""
    given = next((name for name in body if name in PINNED), None)
    if given is not None:
        raise BadRequest(
            f"{given} is part of PromptRelease {release.name}, tested together with its prompt: remove it "
            "from the request, or change spec.parameters in a new version",
            code="parameter_pinned",
            param=given,
        )
    for index, message in enumerate(body.get("messages") or ()):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant", "tool"):
            raise BadRequest(
                f"messages[{index}] has role {role!r}: with a prompt only user, assistant and tool "
                "messages may follow, the instructions are the release's",
                code="role_pinned",
                param="messages",
            )


def _pinned(release: Release, wanted: str, caller: Caller) -> Choice:
    found = _by_name(release, wanted)
    if found is None:
        raise Unknown(
            f"PromptRelease {release.name} has no version {wanted!r}: write stable, candidate, a version of "
            f"its history or at least {SHORTEST_PREFIX} characters of a digest",
            code="version_not_found",
            param="prompt.version",
        )
    unseen = release.candidate is not None and found.digest == release.candidate.digest and release.weight == 0
    if unseen and not _evaluates(release.name, caller):
        raise NotAllowed(
            f"version {wanted!r} of PromptRelease {release.name} is a candidate that no user sees yet: "
            "only its evaluation may ask it",
            code="candidate_unseen",
            param="prompt.version",
        )
    return Choice(release, found, _variant(release, found), "pinned", None)


def _evaluates(qualified: str, caller: Caller) -> bool:
    return caller.namespace == qualified.partition("/")[0] and measures(caller)


def measures(caller: Caller) -> bool:
    """Whether an evaluation asks, and no user."""
    return caller.holder is None and caller.name.endswith(EVAL_SUFFIX)


def _by_name(release: Release, wanted: str) -> Version | None:
    if wanted == STABLE:
        return release.stable
    if wanted == CANDIDATE:
        return release.candidate
    if wanted in release.versions:
        return release.versions[wanted]
    labelled = [one for one in release.versions.values() if one.label == wanted]
    current = (release.stable, release.candidate)  # a label may be used again: what is served now is meant first
    for one in sorted(labelled, key=lambda v: v not in current):
        return one
    if len(wanted) >= SHORTEST_PREFIX:
        return next((one for digest, one in release.versions.items() if digest.startswith(wanted)), None)
    return None


def _variant(release: Release, found: Version) -> str:
    is_new = release.candidate is not None and found.digest == release.candidate.digest
    return CANDIDATE if is_new else STABLE


def _drawn(
    release: Release, body: Mapping[str, Any], headers: Mapping[bytes, bytes], caller: Caller, leased: bool
) -> Choice:
    stable, candidate = release.stable, release.candidate
    source, unit = _unit(release.sticky, body, headers, caller)
    if stable is None:
        raise NotReady(
            f"PromptRelease {release.name} has no stable version yet ({release.waiting}): "
            "`llmops explain prel` says what it waits for",
            code="prompt_not_ready",
            retry_after=5,
        )
    if candidate is None or not leased:
        return Choice(release, stable, STABLE, source, None)
    if not release.weight:
        return Choice(release, stable, STABLE, source, None, _unseen(release, candidate, unit))
    chosen = meets_candidate(bucket(release.name, candidate.digest, release.attempt, unit), release.weight)
    share = Share(candidate.digest, release.attempt, release.weight, unit_hash(unit), release.slow)
    if chosen:
        return Choice(release, candidate, CANDIDATE, source, share)
    return Choice(release, stable, STABLE, source, share)


def _unseen(release: Release, candidate: Version, unit: str) -> Share | None:
    percent = release.shadow
    if not percent or not is_shadowed(release.name, candidate.digest, release.attempt, unit, percent):
        return None
    return Share(candidate.digest, release.attempt, 0, unit_hash(unit), release.slow)


def _unit(
    known: Sequence[Sticky], body: Mapping[str, Any], headers: Mapping[bytes, bytes], caller: Caller
) -> tuple[str, str]:
    for sticky in known:
        if sticky.header is not None:
            value = headers.get(sticky.header, b"").decode("latin-1")
        elif sticky.source == "User":
            value = str(body.get("user") or "")
        else:
            value = caller.identity
        if value:
            return sticky.source, value
    return "request", secrets.token_hex(8)


def unit_hash(unit: str) -> str:
    """How a unit is spoken of outside of the request: nobody's name leaves the door."""
    return hashlib.sha256(unit.encode()).hexdigest()[:16]


def _qualified(text: str, caller: Caller) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    return (namespace, name) if slash else (caller.namespace, text)
