"""What an index refers to: ConfigMaps, and the labelled questions of an EvalJob that its Retrieval gate asks."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops.api import EvalJob, VectorIndex, names
from llmops.api.dataset import Dataset
from llmops.api.tenants import FORM, is_tenant
from llmops.kube.cluster import Cluster
from llmops.kube.resources import CONFIG_MAP, EVAL_JOB
from llmops.retrieval.passage import storable
from llmops.retrieval.work import Question, Questions


@dataclass(frozen=True)
class Missing:
    """Something that the spec refers to and that cannot be used; `exists` where waiting may help."""

    sentence: str
    exists: bool = False


async def config_map(cluster: Cluster, namespace: str, name: str) -> tuple[Mapping[str, bytes] | None, bool]:
    """Its files, as a pod sees them, and whether we are told of its changes; what is not labelled is asked for."""
    found = cluster.get(CONFIG_MAP, namespace, name) or await cluster.fresh(CONFIG_MAP, namespace, name)
    if found is None:
        return None, False
    files = {key: text.encode() for key, text in (found.get("data") or {}).items()}
    files |= {key: base64.b64decode(one) for key, one in (found.get("binaryData") or {}).items()}
    return files, (found["metadata"].get("labels") or {}).get(names.WATCH) == "true"


async def questions_of(index: VectorIndex, cluster: Cluster) -> tuple[Questions | Missing, bool]:
    """The labelled questions of the Retrieval gates' EvalJob, and whether their changes reach us."""
    wanted = {gate.eval_job_ref.name for gate in index.spec.rollout.gates if gate.eval_job_ref}
    if not wanted:
        return [], True
    name, namespace = min(wanted), index.metadata.namespace
    raw = cluster.get(EVAL_JOB, namespace, name)
    if raw is None:
        return Missing(
            f"EvalJob {namespace}/{name} does not exist: create it, or correct evalJobRef; its dataset has the "
            "questions of the gate Retrieval"
        ), True
    dataset = EvalJob.model_validate(raw).spec.dataset
    if dataset is None or (dataset.inline is None and dataset.config_map_ref is None):
        return Missing(
            f"EvalJob {namespace}/{name} needs a dataset with configMapRef (JSON Lines) or inline: the questions of "
            "the gate Retrieval"
        ), True
    found = await _rows(dataset, namespace, cluster)
    if isinstance(found, Missing):
        return found, True
    rows, followed = found
    apart, questions = index.spec.query.tenants is not None, Questions()
    for number, row in enumerate(rows[: dataset.limit], start=1):
        try:
            questions.append(_question(_parsed(row), dataset.fields.input, dataset.fields.target, apart))
        except ValueError as problem:
            return Missing(f"EvalJob {namespace}/{name}, question {number}: {problem}"), followed
    return questions, followed


async def _rows(dataset: Dataset, namespace: str, cluster: Cluster) -> tuple[list[Any], bool] | Missing:
    """As they are written: objects, or lines of JSON."""
    if dataset.inline is not None:
        return list(dataset.inline), True
    assert dataset.config_map_ref is not None
    reference = dataset.config_map_ref
    data, followed = await config_map(cluster, namespace, reference.name)
    if data is None or reference.key not in data:
        return Missing(
            f"ConfigMap {namespace}/{reference.name} with key {reference.key!r} is missing: create it, with the "
            "questions of the gate Retrieval"
        )
    return [line for line in data[reference.key].decode(errors="replace").split("\n") if line.strip()], followed


def _parsed(row: Any) -> Mapping[str, Any]:
    try:
        parsed = json.loads(row) if isinstance(row, str) else row
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, Mapping):
        raise ValueError('it is no JSON object: write one a line, such as {"input": "…", "relevant": ["faq/boots"]}')
    return parsed


def _question(row: Mapping[str, Any], input_: str, target: str, apart: bool = False) -> Question:
    """`apart`: whether it is asked within a tenant."""
    relevant = row.get("relevant", row.get(target))
    listed = relevant if isinstance(relevant, list) else [relevant]
    documents = [storable(str(one)) for one in listed if one is not None]
    if not documents:
        raise ValueError(f"it names no document that answers it: write relevant, or the field {target!r}")
    if not isinstance(row.get(input_), str) or not row[input_].strip():
        raise ValueError(f"it has no text in the field {input_!r}: write it, or dataset.fields.input")
    tenant = row.get("tenant") if apart else ""
    if apart and not is_tenant(tenant):
        raise ValueError(f"it says as its tenant {tenant!r}, whose documents it is asked of: write {FORM}")
    return Question(storable(row[input_]), documents, str(tenant))
