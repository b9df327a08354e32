"""Where an EvalJob's rows come from, and which of their fields mean what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from llmops.api.common import Model, Ref, Rule, SecretRef, Uri, Url, Word, matches


class DatasetConfigMap(Model):
    """A data key of a ConfigMap."""

    name: Word
    """Its name; with the label llmops.dev/watch: "true" its changes are seen at once, else within a minute."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "data.jsonl"
    """The data key."""


class DatasetHttp(Model):
    """A file on the web, read without any credential."""

    url: Annotated[Url, Rule("!self.matches('^https?://[^/]*@')", "write the address without a user and password")]
    """Its address, as pods of this namespace reach it."""


class DatasetPvc(Model):
    """A file on a volume, which the run's pod mounts read-only."""

    claim: Word
    """The PersistentVolumeClaim."""
    path: Annotated[
        str,
        Field(max_length=1024),
        Rule("self.startsWith('/')", "write a path from the volume's root, such as /qa.jsonl"),
        Rule("!self.matches('(^|/)[.][.](/|$)')", "write the path without .."),
    ]
    """The file."""


class DatasetS3(Model):
    """An object in a bucket."""

    uri: Annotated[Uri, matches("s3://[^/ ]+/[^ ]+", "write s3://bucket/key")]
    """The object."""
    version_id: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """One version of it, in a bucket that keeps versions; without, the newest at the time of the run."""
    endpoint: Url | None = None
    """The store's address, where it is not the one that models come from (LLMOPS_S3_URL)."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN of temporary keys), which only
    the run's pod sees; without, the object is public."""


class DatasetTraffic(Model):
    """What users of a PromptRelease asked lately: it remembers that with spec.capture. Every version and every rating
    has its share of the sample; the slices rating (up, down, none) and version are there."""

    sample: Annotated[int, Field(ge=1, le=10_000)]
    """How many."""
    prompt_ref: Ref | None = None
    """The PromptRelease whose users are meant; without it the target's."""
    answers: Literal["Again", "Recorded"] = "Again"
    """Again: the target is asked what they asked. Recorded: what they were told is marked, as far as the target's
    version said it; nobody is asked, and nothing is paid but judges."""


class DatasetLabelStudio(Model):
    """A Label Studio project: its tasks are the rows, with what people labelled them as."""

    url: Annotated[Url, Rule("!self.matches('^https?://[^/]*@')", "write the address without a user and password")]
    """Label Studio's address, as pods of this namespace reach it."""
    project: Annotated[int, Field(ge=1)]
    """The project's number, as in its address."""
    credentials_secret_ref: SecretRef
    """A Secret with LABEL_STUDIO_API_KEY, a personal access token or a legacy one, which only the run's pod sees."""


class DatasetFields(Model):
    """Which fields of a row mean what."""

    input: Annotated[str, Field(min_length=1, max_length=63)] = "input"
    """The question."""
    target: Annotated[str, Field(min_length=1, max_length=63)] = "target"
    """The right answer, or a list of them; for a Retrieval gate, the passages that answer."""
    id: Annotated[str, Field(min_length=1, max_length=63)] = "id"
    """The row's identity; its number where it has none."""


_ROW = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


class Dataset(Model):
    """The questions."""

    RULES = (
        Rule(
            "[has(self.configMapRef), has(self.inline), has(self.http), has(self.pvc), has(self.s3), has(self.traffic),"
            " has(self.labelStudio)].filter(x, x).size() == 1",
            "write exactly one of configMapRef, inline, http, pvc, s3, traffic and labelStudio as dataset",
        ),
        Rule(
            "!has(self.format) || !(has(self.inline) || has(self.labelStudio) || has(self.traffic))",
            "the rows are objects already: remove format",
        ),
    )
    config_map_ref: DatasetConfigMap | None = None
    """A data key of a ConfigMap."""
    inline: Annotated[list[_ROW], Field(min_length=1, max_length=1000)] | None = None
    """The rows themselves."""
    http: DatasetHttp | None = None
    """A file on the web."""
    pvc: DatasetPvc | None = None
    """A file on a volume of yours."""
    s3: DatasetS3 | None = None
    """An object in a bucket."""
    traffic: DatasetTraffic | None = None
    """What users asked lately."""
    label_studio: DatasetLabelStudio | None = None
    """The labelled tasks of a Label Studio project."""
    format: Literal["JSONL", "CSV", "Parquet"] | None = None
    """How the rows are written: JSON Lines, or CSV with a header. Without it by the file's name: .csv and .parquet, and
    everything else is JSON Lines. Parquet is read from pvc, http and s3."""
    fields: DatasetFields = DatasetFields()
    """Which fields mean what."""
    slices: Annotated[list[Annotated[str, Field(min_length=1, max_length=63)]], Field(max_length=8)] = []
    """Fields whose values are reported apart."""
    limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most so many rows, from the first."""
