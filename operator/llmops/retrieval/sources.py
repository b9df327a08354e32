"""The spec's sources as the Job is handed them. ConfigMaps are read here, for their digest; what stands behind another
address only the Job sees: the operator has no volume, no key, and no business on the web."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.api import Settings, VectorIndex
from llmops.api.index_sources import Source
from llmops.kube.cluster import Cluster
from llmops.retrieval.referred import config_map
from llmops.retrieval.work import SourceWork, content_sha256


async def sources_of(index: VectorIndex, cluster: Cluster) -> tuple[tuple[SourceWork, ...], str | None, bool]:
    """Their identities, the first problem, and whether every change reaches us or is none of ours to notice."""
    found: list[SourceWork] = []
    followed = True
    for source in index.spec.sources:
        if source.config_map_ref is None:
            found.append(behind_an_address(source, cluster.settings))
            continue
        reference = source.config_map_ref
        seen, labelled = await config_map(cluster, index.metadata.namespace, reference.name)
        followed = followed and labelled
        where = f"source {source.name}: ConfigMap {index.metadata.namespace}/{reference.name}"
        if seen is None:
            return (), f"{where} does not exist: create it, or correct configMapRef", followed
        data = {key: one for key, one in seen.items() if reference.key in (None, key)}
        if not data:
            has = f"write one of its keys ({', '.join(sorted(seen))})" if seen else "it is empty: put documents into it"
            return (), f"{where} has no key {reference.key!r}: {has}" if reference.key else f"{where}: {has}", followed
        found.append(_of_config_map(source, data))
    return tuple(found), None, followed


def _of_config_map(source: Source, data: Mapping[str, bytes]) -> SourceWork:
    reference = source.config_map_ref
    return SourceWork(
        source.name, source.format, source.fields.id, source.fields.text, content_sha256(data),
        reference.key if reference else None, metadata=source.metadata,
    )  # fmt: skip


def behind_an_address(source: Source, settings: Settings) -> SourceWork:
    """A claim, the web, a bucket or a repository."""
    common: dict[str, Any] = {"name": source.name, "format": source.format, "id_field": source.fields.id,
              "text_field": source.fields.text, "metadata": source.metadata}  # fmt: skip
    include = tuple(source.include)
    if source.pvc is not None:
        return SourceWork(**common, kind="pvc", address=source.pvc.path, claim=source.pvc.claim, include=include)
    if source.http is not None:
        return SourceWork(**common, kind="http", address=source.http.url)
    if source.s3 is not None:
        secret = source.s3.credentials_secret_ref
        return SourceWork(
            **common, kind="s3", address=source.s3.uri, endpoint=source.s3.endpoint or settings.s3_url, include=include,
            secret=secret.name if secret else "",
        )  # fmt: skip
    assert source.git is not None  # the kind's own rule: exactly one
    secret = source.git.credentials_secret_ref
    return SourceWork(
        **common, kind="git", address=source.git.url, ref=source.git.ref, path=source.git.path, include=include,
        secret=secret.name if secret else "",
    )  # fmt: skip
