"""LLMService: a model behind the door, served by pods of ours (spec.model) or by somebody's API (spec.external)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmops.api.common import (
    Access,
    Column,
    Duration,
    KubernetesObject,
    Model,
    Name,
    Preserved,
    Pricing,
    Quantity,
    Ref,
    Resources,
    Rule,
    SecretRef,
    Status,
    Text,
    Uri,
    Word,
)
from llmops.api.rollout import (
    CandidateStatus,
    HistoryEntry,
    LastHandled,
    Phase,
    RejectedStatus,
    ServiceRollout,
    StableStatus,
)

Task = Literal["Generate", "Embed", "Rerank"]
EngineType = Literal["vLLM", "SGLang", "LlamaCpp", "BentoML", "OpenLLM"]

ModelUri = Annotated[
    Uri,
    Rule(
        "self.matches('^hf://[^/ ]+/[^ ]+$') || self.matches('^(s3|gs|oci|https?)://[^/ ]+/[^ ]+$')"
        " || self.matches('^pvc://[^/ ]+/[^ ]+$') || self.matches('^file:///[^ ]+$')",
        "write where the model is: hf://org/name, s3://bucket/path, gs://bucket/path, https://host/path,"
        " oci://host/image, pvc://claim/path or file:///path/in/the/image",
    ),
]


class License(Model):
    """The licence of the model's weights."""

    id: Annotated[str, Field(min_length=1, max_length=63)]
    """Its short name, such as apache-2.0 or llama3.1."""
    accepted: bool = False
    """Whether you have read and accepted it; a licence that asks for it starts no pods before."""


class Cache(Model):
    """Where downloaded weights are kept."""

    size: Quantity
    """The volume's size, such as 40Gi."""
    storage_class: Word | None = None
    """Its StorageClass; the cluster's default if absent."""
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce", "PerReplica"] = "ReadWriteOnce"
    """ReadWriteMany: one volume for all nodes. ReadWriteOnce: one volume, on one node. PerReplica: each pod
    downloads."""
    keep_revisions: Annotated[int, Field(ge=1, le=100)] = 2
    """How many revisions' weights stay when a download needs room, the newest ones; users' own always stays."""


class Adapter(Model):
    """A LoRA adapter, asked for as <model>:<name>."""

    name: Name
    """The name after the colon."""
    uri: ModelUri
    """Where it is."""
    revision: Annotated[str, Field(max_length=128)] | None = None
    """The commit, tag or digest."""


class Dimensions(Model):
    """What sizing needs to know of a model; otherwise read from the model's own config."""

    parameters: Annotated[int, Field(ge=1, le=100_000_000_000_000)]
    """How many weights."""
    layers: Annotated[int, Field(ge=1, le=10_000)]
    """Transformer layers."""
    kv_heads: Annotated[int, Field(ge=1, le=10_000)]
    """Heads of keys and values."""
    head_dim: Annotated[int, Field(ge=1, le=100_000)]
    """Numbers a head."""
    context_length: Annotated[int, Field(ge=1, le=100_000_000)]
    """The longest context it was made for, in tokens."""
    heads: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Attention heads, which tensor parallelism must divide."""
    embeddings: Annotated[int, Field(ge=1, le=100_000_000_000)] | None = None
    """Weights of the embeddings of words, in and out, which quantization leaves as they are."""
    experts: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Experts a layer, of a mixture of experts; engines take more memory for those."""


class ModelSource(Model):
    """A model that this cluster serves."""

    RULES = (
        Rule(
            "!(has(self.cache) && (self.uri.startsWith('file://') || self.uri.startsWith('pvc://')))",
            "file:// and pvc:// models are read where they are: remove cache",
        ),
        Rule(
            "!self.uri.startsWith('http://') || has(self.revision) && self.revision.matches('^sha256:[0-9a-f]{64}$')",
            "nothing vouches for bytes that come over http://: write https://, or revision: sha256:<64 hex digits>",
        ),
        Rule(
            "!has(self.adapters) || self.adapters.all(a, self.adapters.exists_one(b, b.name == a.name))",
            "two adapters have the same name: give each its own",
        ),
    )
    uri: ModelUri
    """hf://, s3://, gs://, https://, oci://, pvc://claim/path or file:///in-the-image."""
    revision: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The commit, tag or sha256:<digest>; without it the model can change under you."""
    task: Task = "Generate"
    """What it does."""
    license: License | None = None
    """The licence of its weights."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with what the download needs (HF_TOKEN; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; of registries the
    pull Secret itself)."""
    cache: Cache | None = None
    """A volume that keeps the downloaded weights."""
    adapters: Annotated[list[Adapter], Field(max_length=16)] = []
    """LoRA adapters."""
    dimensions: Dimensions | None = None
    """What sizing needs to know."""


class External(Model):
    """A model that somebody else serves."""

    provider_ref: Ref
    """A Provider in the gateway's namespace, which the cluster's admin made."""
    model: Annotated[str, Field(min_length=1, max_length=253)]
    """The model's name there."""
    task: Task = "Generate"
    """What it does."""


class EnvVar(Model):
    """An environment variable, as in a container."""

    RULES = (Rule("!(has(self.value) && has(self.valueFrom))", "write value or valueFrom, not both"),)
    name: Word
    """Its name."""
    value: Text | None = None
    """Its value."""
    value_from: Preserved | None = None
    """Where its value comes from, as in a container."""


class Engine(Model):
    """The program that runs the model."""

    RULES = (
        Rule(
            "!(self.type == 'LlamaCpp' && has(self.quantization))",
            "a GGUF file is already quantized: remove quantization and choose the file in model.uri",
        ),
        Rule(
            "!(self.type in ['BentoML', 'OpenLLM'] && has(self.quantization))",
            "BentoML and OpenLLM choose the quantization in the model they are given: remove quantization",
        ),
    )
    type: EngineType
    """vLLM and SGLang for GPUs, LlamaCpp for GGUF files and CPUs, BentoML and OpenLLM for what they package."""
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """The container image; each engine has a default, resolved once for each revision."""
    quantization: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """Such as fp8, awq or gptq, as the engine calls it."""
    context_length: Annotated[int, Field(ge=16, le=100_000_000)] | None = None
    """The longest context to serve, in tokens; shorter leaves room for more requests at a time."""
    args: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=64)] = []
    """Further arguments to the engine."""
    env: Annotated[list[EnvVar], Field(max_length=64)] = []
    """Environment variables."""


class Accelerator(Model):
    """The device a replica needs."""

    resource: Annotated[
        str,
        Field(max_length=253),
        Rule("self.contains('/')", "write the device's resource name, such as nvidia.com/gpu or amd.com/gpu"),
    ] = "nvidia.com/gpu"
    """The resource that the device plugin offers."""
    product: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """The product, as in the node's label nvidia.com/gpu.product."""
    memory: Quantity | None = None
    """Memory of one device, such as 80Gi; read from the node's labels if absent."""
    count: Annotated[
        int | Annotated[str, Field(max_length=8)],
        Rule(
            "type(self) == int ? int(self) >= 1 && int(self) <= 64 : string(self) == 'Auto'",
            "write a number of devices from 1 to 64, or Auto to have it computed from the model",
        ),
    ] = "Auto"
    """How many a replica; Auto computes it from the model, and the status explains how."""


class ScaleMetric(Model):
    """What the number of replicas follows."""

    RULES = (Rule("(self.type == 'Prometheus') == has(self.query)", "write query if and only if type is Prometheus"),)
    type: Literal["QueueDepth", "Concurrency", "KVCache", "TokensPerSecond", "Prometheus"] = "QueueDepth"
    """QueueDepth: waiting requests. Concurrency: requests at a time. KVCache: percent full. TokensPerSecond: tokens
    generated. Prometheus: your query."""
    target: Annotated[int, Field(ge=1, le=1_000_000_000)] = 4
    """How much of it one replica should have."""
    query: Text | None = None
    """A query that gives one number, over all replicas."""


class Autoscaling(Model):
    """How the number of replicas follows the load."""

    RULES = (
        Rule("self.min <= self.max", "autoscaling.min is above max: write min <= max"),
        Rule("self.max >= 1", "autoscaling.max must be at least 1; write spec.replicas: 0 to serve nothing"),
        Rule(
            "!(self.min == 0 && self.by == 'HPA')",
            "a HorizontalPodAutoscaler cannot scale to zero: write min: 1, or by: Operator or KEDA",
        ),
        Rule(
            "!has(self.idleAfter) || self.min == 0",
            "idleAfter says when to scale to zero: write min: 0, or remove idleAfter",
        ),
    )
    min: Annotated[int, Field(ge=0, le=1000)] = 1
    """The fewest replicas; 0 scales to zero, and the gateway holds requests while the first one wakes. A service that a
    VectorIndex asks stays at one."""
    max: Annotated[int, Field(ge=0, le=1000)]
    """The most replicas."""
    metric: ScaleMetric = ScaleMetric()
    """What it follows."""
    by: Literal["Operator", "HPA", "KEDA"] = "Operator"
    """Who scales the Deployment."""
    idle_after: Duration | None = None
    """How long without requests before it goes to zero (30m if absent)."""


class Limits(Model):
    """Limits of the service as a whole."""

    max_concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests at a time; what comes beyond waits."""
    timeout: Duration = "60s"
    """The longest a request may take to its first byte, retries included."""


class LLMServiceSpec(Model):
    """What is served, by what, and to whom."""

    RULES = (
        Rule(
            "has(self.model) != has(self.external)",
            "write exactly one of spec.model (served here) and spec.external (somebody's API)",
        ),
        Rule(
            "!has(self.model) || has(self.engine)",
            "spec.engine is missing: write engine: {type: vLLM} for GPUs, or {type: LlamaCpp} for GGUF files",
        ),
        Rule(
            "!has(self.external) || !(has(self.engine) || has(self.accelerator) || has(self.autoscaling)"
            " || has(self.podTemplate))",
            "an external model has no pods: remove engine, accelerator, autoscaling and podTemplate",
        ),
        Rule(
            "!(has(self.external) && has(self.rollout))",
            "an external model has no revisions of ours: remove rollout, and release it with a PromptRelease",
        ),
        Rule(
            "!has(self.rollout) || !has(self.rollout.online)"
            " || self.rollout.online.all(o, o.signal != 'InvalidResponse')",
            "a model promises no form of its answers: write the signal InvalidResponse in the PromptRelease that has"
            " response.schema",
        ),
        Rule(
            "!(has(self.engine) && self.engine.type in ['BentoML', 'OpenLLM'] && has(self.model)"
            " && has(self.model.adapters) && self.model.adapters.size() > 0)",
            "adapters work with vLLM, SGLang and LlamaCpp: change engine.type or remove model.adapters",
        ),
        Rule(
            "!(has(self.engine) && self.engine.type in ['BentoML', 'OpenLLM'] && has(self.model)"
            " && self.model.task == 'Rerank')",
            "BentoML and OpenLLM cannot rerank: write engine.type vLLM, SGLang or LlamaCpp",
        ),
        Rule(
            "!has(self.autoscaling) || self.replicas <= self.autoscaling.max",
            "spec.replicas is above autoscaling.max: it is the starting count, so write at most max",
        ),
    )
    model: ModelSource | None = None
    """A model that this cluster serves."""
    external: External | None = None
    """A model that somebody else serves, behind the same door."""
    engine: Engine | None = None
    """The program that runs the model."""
    accelerator: Accelerator | None = None
    """The device a replica needs; none runs on CPUs."""
    resources: Resources = Resources()
    """CPU and memory of a replica."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many; the starting count where autoscaling is given."""
    autoscaling: Autoscaling | None = None
    """How the number of replicas follows the load."""
    rollout: ServiceRollout | None = None
    """How a new revision reaches users; without it the pods are replaced."""
    access: Access = Access()
    """Who may use it."""
    pricing: Pricing | None = None
    """What tokens cost."""
    limits: Limits = Limits()
    """Limits of the service as a whole."""
    fallback_refs: Annotated[list[Ref], Field(max_length=8)] = []
    """Services of this namespace to try in order after a 5xx, a timeout, a 429 or a spent budget."""
    pod_template: Preserved | None = None
    """A partial PodTemplateSpec, merged last: node selectors, tolerations, volumes."""
    suspend: bool = False
    """Stop advancing: pods stay as they are, nothing new begins."""

    @property
    def task(self) -> Task:
        """What it does, whoever serves it."""
        if self.model is not None:
            return self.model.task
        return self.external.task if self.external is not None else "Generate"


class Sizing(Model):
    """How the accelerators were computed."""

    accelerators_per_replica: int | None = None
    """Devices a replica."""
    tensor_parallel: int | None = None
    """Devices that share each layer."""
    pipeline_parallel: int | None = None
    """Groups of devices that share the layers."""
    nodes: int | None = None
    """Nodes that a replica takes, where one has too few devices: each has a pod of it (LeaderWorkerSet)."""
    weights: Annotated[str, Field(max_length=32)] | None = None
    """Memory of the weights."""
    kv_cache_tokens: int | None = None
    """Tokens that fit into the cache of keys and values."""
    context_length: int | None = None
    """The longest context served."""
    concurrency: int | None = None
    """Requests of that length that the cache holds at a time; shorter ones are more."""
    product: Annotated[str, Field(max_length=63)] | None = None
    """The product that was chosen among what the nodes offer."""
    startup: Duration | None = None
    """How long a start may take with so many bytes to read."""
    explanation: Annotated[str, Field(max_length=2048)] | None = None
    """A sentence a person can check."""


class ScalingStatus(Model):
    """What the autoscaler of ours does, with spec.autoscaling.by: Operator."""

    explanation: Annotated[str, Field(max_length=512)] | None = None
    """Why the count is what it is, in a sentence a person can check."""
    since: Annotated[str, Field(max_length=32)] | None = None
    """When the count was last changed."""
    cold_start: Duration | None = None
    """How long a pod takes from its creation until it is ready: the slowest of the last starts."""
    starts: Annotated[list[int], Field(max_length=5)] = []
    """The last starts, newest first, in seconds."""
    measured_until: Annotated[str, Field(max_length=32)] | None = None
    """Creation of the newest pod whose start is among them."""


class PinnedStatus(Model):
    """A revision that prompts are released together with (PromptRelease.spec.serviceRef.revision)."""

    revision: Annotated[str, Field(max_length=64)]
    """As the release names it."""
    digest: Annotated[str, Field(max_length=64)] | None = None
    """Its identity, where there is such a revision."""
    service: Annotated[str, Field(max_length=63)] | None = None
    """The Service of its pods."""
    adapters: Annotated[list[Name], Field(max_length=16)] = []
    """The adapters it answers as."""
    ready: bool = False
    """Whether it can be asked."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why not, and what to do."""


class LLMServiceStatus(Status):
    """What the service is doing."""

    url: Annotated[str, Field(max_length=2048)] | None = None
    """The door's address, the base_url of an OpenAI client."""
    model: Annotated[str, Field(max_length=253)] | None = None
    """The name to send as `model`."""
    replicas: int | None = None
    """Pods wanted."""
    ready_replicas: int | None = None
    """Pods that serve."""
    phase: Phase | None = None
    """Where a rollout stands, if spec.rollout is given."""
    held_from: Annotated[str, Field(max_length=32)] | None = None
    """The phase that Holding goes back to."""
    sizing: Sizing | None = None
    """How the accelerators were computed."""
    scaling: ScalingStatus | None = None
    """Why there are so many pods, where the operator scales."""
    stable: StableStatus | None = None
    """The revision that users are served."""
    candidate: CandidateStatus | None = None
    """The revision on its way to them."""
    pinned: Annotated[list[PinnedStatus], Field(max_length=16)] = []
    """Revisions that prompts are released together with; they have pods for as long."""
    rejected: Annotated[list[RejectedStatus], Field(max_length=50)] = []
    """Revisions that are not tried again by themselves."""
    history: Annotated[list[HistoryEntry], Field(max_length=100)] = []
    """What happened, newest first."""
    last_handled: LastHandled | None = None
    """The annotations already acted upon."""
    memory: Preserved | None = None
    """What the operator must remember across a restart, in its own words."""


class LLMService(KubernetesObject):
    """A language model behind the door: its pods, its place, its limits; or somebody's API in the same way."""

    KIND: ClassVar[str] = "LLMService"
    PLURAL: ClassVar[str] = "llmservices"
    SHORT: ClassVar[str] = "llm"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Engine", ".spec.engine.type"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Replicas", ".status.readyReplicas", "integer"),
        Column("Model", ".status.model", says="the name to send as model"),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
        Column("Source", ".spec.model.uri", wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    spec: LLMServiceSpec
    """What is wanted."""
    status: LLMServiceStatus | None = None
    """What is so."""
