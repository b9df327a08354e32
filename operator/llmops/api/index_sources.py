"""What is indexed: where documents come from, when they are read again, and how they become passages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmops.api.common import Cron, Model, Name, Rule, SecretRef, Uri, Url, Word, matches


class ConfigMapSource(Model):
    """Documents in a ConfigMap, one a data key."""

    name: Word
    """Its name; with the label llmops.dev/watch: "true" its changes are seen at once, else within a minute."""
    key: Annotated[str, Field(max_length=253)] | None = None
    """Only this data key."""


class PvcSource(Model):
    """Files on a volume."""

    claim: Word
    """The PersistentVolumeClaim."""
    path: Annotated[
        str, Field(max_length=1024), Rule("self.startsWith('/')", "write a path from the volume's root, such as /")
    ] = "/"
    """Where on it."""


class HttpSource(Model):
    """A file on the web."""

    url: Url
    """Its address."""


class S3Source(Model):
    """Objects in a bucket."""

    uri: Annotated[Uri, matches("s3://[^/ ]+(/[^ ]*)?", "write s3://bucket/prefix")]
    """The bucket and prefix."""
    endpoint: Url | None = None
    """The store's address, where it is not AWS."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""


class GitSource(Model):
    """Files in a repository."""

    RULES = (
        Rule(
            "!self.url.startsWith('ssh://') || has(self.credentialsSecretRef)",
            "for ssh:// write a Secret with ssh-privatekey and known_hosts as credentialsSecretRef",
        ),
    )
    url: Annotated[
        Uri, matches("(https|ssh)://[^ ]+", "write the repository's address, such as https://host/org/repo.git")
    ]
    """Its address."""
    ref: Annotated[str, Field(max_length=253)] = "HEAD"
    """A branch, tag or commit."""
    path: Annotated[str, Field(max_length=1024)] = "/"
    """Where in it."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with username and password, or for ssh:// with ssh-privatekey and known_hosts."""


class SourceFields(Model):
    """Which fields of a row of jsonl or csv mean what."""

    id: Annotated[str, Field(min_length=1, max_length=63)] = "id"
    """The document's name."""
    text: Annotated[str, Field(min_length=1, max_length=63)] = "text"
    """Its text."""


FieldName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches("[A-Za-z_][A-Za-z0-9_]*", "write a metadata field's name in letters, digits and _, such as groups"),
]


class Source(Model):
    """A place that documents come from."""

    RULES = (
        Rule(
            "[has(self.configMapRef), has(self.pvc), has(self.http), has(self.s3), has(self.git)].filter(x,"
            " x).size() == 1",
            "write exactly one of configMapRef, pvc, http, s3 and git for each source",
        ),
        Rule(
            "!has(self.include) || self.include.size() == 0 || has(self.pvc) || has(self.s3) || has(self.git)",
            "include chooses among the files of pvc, s3 and git: remove it; of a ConfigMap write configMapRef.key",
        ),
    )
    name: Name
    """Its name, part of every passage's identity."""
    config_map_ref: ConfigMapSource | None = None
    """Documents in a ConfigMap."""
    pvc: PvcSource | None = None
    """Files on a volume."""
    http: HttpSource | None = None
    """A file on the web."""
    s3: S3Source | None = None
    """Objects in a bucket."""
    git: GitSource | None = None
    """Files in a repository."""
    include: Annotated[list[Annotated[str, Field(min_length=1, max_length=253)]], Field(max_length=32)] = []
    """Of pvc, s3 and git: only files whose path matches one of these globs, such as docs/*.md; absent, those whose
    ending says that they are documents."""
    format: Literal["Auto", "Markdown", "HTML", "PDF", "Docx", "Text", "Jsonl", "Csv"] = "Auto"
    """How to read them; Auto goes by the file's ending."""
    fields: SourceFields = SourceFields()
    """What the fields of jsonl and csv mean."""
    metadata: Annotated[
        dict[str, Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=64)]],
        Field(max_length=16),
        Rule(
            "self.all(k, k.matches('^[A-Za-z_][A-Za-z0-9_]{0,62}$'))",
            "write the names of metadata in letters, digits and _, such as groups",
        ),
    ] = {}
    """What all its documents get as metadata, in place of what they have under these names, such as groups: [staff]."""


class Chunking(Model):
    """How documents become passages."""

    RULES = (
        Rule("self.overlap < self.maxTokens", "chunking.overlap must be less than maxTokens, or passages never end"),
    )
    strategy: Literal["Semantic", "Headings", "Fixed", "Document"] = "Semantic"
    """Semantic: at the ends of sections, paragraphs and sentences. Headings: so too, and never across a heading, which
    each passage begins with. Fixed: at maxTokens. Document: one passage each."""
    max_tokens: Annotated[int, Field(ge=8, le=32_768)] = 200
    """The longest passage, in the embedding model's tokens."""
    overlap: Annotated[int, Field(ge=0, le=16_384)] = 20
    """Tokens that neighbours share."""


# fmt: off
Language = Literal[
    "*", "af", "am", "an", "ar", "as", "az", "ba", "be", "bg", "bn", "br", "bs", "ca", "cs", "cy", "da", "de", "dz",
    "el", "en", "eo", "es", "et", "eu", "fa", "fi", "fo", "fr", "fy", "ga", "gd", "gl", "gu", "ha", "he", "hi", "hr",
    "ht", "hu", "hy", "id", "ig", "is", "it", "ja", "jv", "ka", "kk", "km", "kn", "ko", "ku", "ky", "la", "lb", "lg",
    "ln", "lo", "lt", "lv", "mg", "mk", "ml", "mn", "mr", "ms", "mt", "my", "ne", "nl", "nn", "no", "oc", "om", "or",
    "pa", "pl", "ps", "pt", "qu", "ro", "ru", "rw", "sa", "se", "si", "sk", "sl", "sn", "so", "sq", "sr", "st", "sv",
    "sw", "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "ug", "uk", "ur", "uz", "vi", "vo", "wa", "xh", "yo", "zh",
    "zu",
]
# fmt: on
"""The languages of ISO 639-1 that can be told from one another (no is Bokmål), and * for all."""


class Cleaning(Model):
    """What is done to documents before they become passages."""

    redact: bool = False
    """Put a mark such as [email] where somebody's e-mail address, phone, card or account number, or a key stands."""
    deduplicate: bool = False
    """Index a text once that stands in several places; the first source, and the first file by name, has it."""
    languages: Annotated[list[Language], Field(max_length=128)] = []
    """Take only documents in these languages, such as [en, de], and those of which nobody can tell; ["*"] takes all.
    With either, each document gets its language as metadata, unless it says it itself; absent, nobody looks."""


class Refresh(Model):
    """When to read the sources again."""

    schedule: Cron | None = None
    """At these times."""
    on_source_change: bool = True
    """When a ConfigMap among them changes."""
    delete_policy: Literal["OnCompleteListing", "Never"] = "OnCompleteListing"
    """Remove passages whose document is gone only when the whole source could be listed, or never. Those of a source
    that is taken out of spec.sources go either way."""
    max_delete_percent: Annotated[int, Field(ge=0, le=100)] = 30
    """Removing more than this share is not done but reported."""
