"""What the kinds are made of: the model base, rules in CEL, bounded texts and numbers, references, conditions.

A field's bounds and its rule live in its type, so that the CRD and the reader of the model see the same thing:

    topK: Annotated[int, Field(ge=1, le=100)] = 4         a bound the API server words itself
    min: Fraction                                         a text with a CEL rule and a sentence of ours

`Rule` is CEL as the API server runs it (docs/reference/kinds.md); Python never evaluates it when it parses an object,
since what comes from the API server was already held to it. Fields that are unknown here are ignored: an object that
a newer version wrote still parses.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from llmops.api import names

RULES_KEY = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """A CEL rule and the sentence for whoever breaks it, which says what to write instead."""

    cel: str
    says: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        schema.setdefault(RULES_KEY, []).append({"rule": self.cel, "message": self.says})
        return schema


def matches(pattern: str, says: str) -> Rule:
    """The rule that a text has this form from beginning to end."""
    quoted = pattern.replace("\\", "\\\\").replace("'", "\\'")
    return Rule(f"self.matches('^({quoted})$')", says)


class Model(BaseModel):
    """The base of everything users write and read: frozen, camelCase on the wire, unknown fields ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        if cls.RULES:
            schema[RULES_KEY] = [{"rule": rule.cel, "message": rule.says} for rule in cls.RULES]
        return schema

    def wire(self) -> dict[str, Any]:
        """As it is written in YAML, without what is absent."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")

    def essence(self) -> dict[str, Any]:
        """As it is written in YAML, without what is absent or equal to a default: what digests are made of."""
        return self.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True, mode="json")


def _decimal(pattern: str, low: str, high: str, says: str) -> Rule:
    return Rule(f"self.matches('^{pattern}$') && double(self) >= {low} && double(self) <= {high}", says)


_DECIMAL = r"-?[0-9]{1,12}([.][0-9]{1,12})?"

Name = Annotated[str, Field(min_length=1, max_length=63)]
"""The name of another object, or of a part of this one."""
Word = Annotated[str, Field(min_length=1, max_length=253)]
Text = Annotated[str, Field(max_length=4096)]
Uri = Annotated[str, Field(min_length=1, max_length=2048)]
Digest = Annotated[str, Field(min_length=64, max_length=64)]
Decimal = Annotated[
    str, Field(max_length=26), _decimal(_DECIMAL, "-1e12", "1e12", 'write a decimal number in quotes, such as "0.2"')
]
Amount = Annotated[
    str, Field(max_length=26), _decimal(_DECIMAL, "0.0", "1e12", 'write an amount of money in quotes, such as "0.20"')
]
Fraction = Annotated[
    str,
    Field(max_length=26),
    _decimal(_DECIMAL, "0.0", "1.0", 'write a decimal between 0 and 1 in quotes, such as "0.95"'),
]
Confidence = Annotated[
    Fraction,
    Rule("!self.matches('^0*1([.]0*)?$')", 'no interval is certain: write a confidence below 1, such as "0.99"'),
]
Scale = Annotated[
    list[Annotated[int, Field(ge=-1000, le=1000)]],
    Field(min_length=2, max_length=2),
    Rule("self.size() != 2 || self[0] < self[1]", "write the scale as [lowest, highest], such as [1, 5]"),
]
GROUP_FORM = "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
MOST_GROUPS = 64
Group = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(GROUP_FORM, "write a group's name in letters, digits, -, _ and ., such as staff"),
]
"""People who may see the same documents."""
Similarity = Annotated[
    str,
    Field(max_length=26),
    _decimal(_DECIMAL, "-1.0", "1.0", 'write a decimal between -1 and 1 in quotes, such as "0.30"'),
]
Duration = Annotated[
    str,
    Field(max_length=20),
    matches("([0-9]{1,6}(ms|s|m|h|d))+", "write a duration such as 500ms, 90s, 30m, 24h or 7d"),
]
Cron = Annotated[
    str,
    Field(max_length=100),
    matches(
        r"@(hourly|daily|weekly|monthly)|([-0-9*/,]+ +){2}[-0-9*/,?]+ +[-0-9A-Za-z*/,]+ +[-0-9A-Za-z*/,?]+",
        'write a schedule of five fields (minute hour day month weekday), such as "0 3 * * *", or @daily',
    ),
]
Quantity = Annotated[
    str,
    Field(max_length=32),
    matches(
        r"[0-9]{1,15}([.][0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?", "write a quantity such as 500m, 2Gi or 40Gi"
    ),
]
Currency = Annotated[
    str, Field(max_length=8), matches("[A-Z]{3}", "write a currency of three letters, such as USD or EUR")
]
Url = Annotated[
    str,
    Field(max_length=2048),
    matches("https?://[^/ ]+(/[^ ]*)?", "write a web address such as https://example.org/data.jsonl"),
]
Preserved = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""Kubernetes' or somebody else's own JSON, kept as it was written."""


class Ref(Model):
    """Another object in the same namespace."""

    name: Name
    """Its name."""


class SecretRef(Model):
    """A Secret in the same namespace; the operator never reads it, the kubelet mounts it where it is needed."""

    name: Word
    """Its name."""


class LabelRequirement(Model):
    """One condition on a label."""

    RULES = (
        Rule(
            "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || self.values.size() == 0"
            " : has(self.values) && self.values.size() > 0",
            "In and NotIn need values; Exists and DoesNotExist take none",
        ),
    )
    key: Word
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared."""
    values: Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=32)] | None = None
    """What it is compared with."""


class LabelSelector(Model):
    """Labels that must all hold; an empty selector matches everything."""

    match_labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] | None = None
    """Labels with exactly these values."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=16)] | None = None
    """Further conditions."""


_ResourceAmount = (
    int | Annotated[str, Field(max_length=32, pattern=r"^[0-9]+([.][0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")]
)


class Resources(Model):
    """CPU and memory, as in a container."""

    requests: Annotated[dict[str, _ResourceAmount], Field(max_length=16)] = {}
    """What it is guaranteed."""
    limits: Annotated[dict[str, _ResourceAmount], Field(max_length=16)] = {}
    """What it may take at most."""


class Access(Model):
    """Who may use this through the gateway."""

    RULES = (
        Rule(
            "self.from == 'Selector' ? has(self.selector) : !has(self.selector)",
            "write selector if and only if from is Selector",
        ),
    )
    from_: Annotated[Literal["Same", "Selector", "All"], Field(alias="from")] = "Same"
    """Same: this namespace only. Selector: namespaces whose labels match. All: every namespace."""
    selector: LabelSelector | None = None
    """The labels of the namespaces that may, where from is Selector."""
    service_accounts: Literal["Allow", "Deny"] = "Allow"
    """Whether pods may come with their service-account token instead of a key."""


class Budget(Model):
    """Money that may be spent in a period; what comes after is refused until the next one begins."""

    amount: Amount
    """How much."""
    currency: Currency = "USD"
    """In which currency; prices must be in the same."""
    period: Literal["Day", "Week", "Month"] = "Month"
    """From midnight, Monday or the first of the month, in UTC."""


class Pricing(Model):
    """What tokens cost, for budgets and reports."""

    input_per_million_tokens: Amount = "0"
    """A million tokens in."""
    output_per_million_tokens: Amount = "0"
    """A million tokens out."""
    currency: Currency = "USD"
    """In which currency."""


class Condition(Model):
    """One statement about the object, as every kind of Kubernetes makes them."""

    type: Annotated[str, Field(max_length=316)]
    """What is stated."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """One word for programs (docs/reference/reasons.md)."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """A sentence for people: what is so, and what to do about it."""
    observed_generation: int | None = None
    """The generation of the spec it speaks of."""
    last_transition_time: datetime | None = None
    """Since when the status is what it is."""


class Status(Model):
    """What every kind reports."""

    observed_generation: int | None = None
    """The generation of the spec that this status speaks of."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
    ] = []
    """Ready: this generation fully serves. Available: users are served at all. Reconciling and Stalled as
    kstatus reads them."""

    def condition(self, type_: str) -> Condition | None:
        """The condition of this type, or None."""
        return next((condition for condition in self.conditions if condition.type == type_), None)


class Metadata(Model):
    """An object's metadata; what is not listed here is kept too."""

    model_config = ConfigDict(extra="allow")
    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    deletion_timestamp: datetime | None = None


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; `wide` ones only with -o wide."""

    name: str
    path: str
    type: str = "string"
    says: str = ""
    wide: bool = False


NAME_FORM = Rule(
    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name must begin with a letter and hold only a-z, 0-9 and -: children are named after it",
)


class KubernetesObject(Model):
    """The base of the kinds."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    SHORT: ClassVar[str]
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    SUBRESOURCE: ClassVar[bool] = True
    NAME_RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.metadata.name.size() <= {names.MAX_NAME}",
            f"metadata.name is too long: write at most {names.MAX_NAME} characters, so that the names of children fit",
        ),
        NAME_FORM,
    )

    api_version: str = names.API_VERSION
    kind: str = ""
    metadata: Metadata = Metadata()

    @property
    def qualified(self) -> str:
        """`namespace/name`."""
        return names.qualified(self.metadata.namespace, self.metadata.name)

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Self:
        """An object as the API server gives it."""
        return cls.model_validate(raw)
