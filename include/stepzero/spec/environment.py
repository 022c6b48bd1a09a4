"""An environment file: where things are and where stages run."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from stepzero.core.errors import SpecError, bare, did_you_mean
from stepzero.spec.base import NAME, ElsewhereError, OpenShare, Section, is_dotted


def _read_address(value: str) -> str:
    try:
        port = urlsplit(value).port
    except ValueError:
        port = 0
    if port == 0:
        msg = "an address whose port is from 1 to 65535, in the file or in the variable that it names (STEPZERO_…_PORT)"
        raise ValueError(msg)
    return value


Address = Annotated[str, AfterValidator(_read_address)]
"""An address; where it names a port, that is one."""


class Server(Section):
    """A server that we ask and that people open."""

    uri: Address
    link: Address | None = None
    """Address for links that people click, where it differs from `uri`."""

    @property
    def base(self) -> str:
        """Return the address that links begin with."""
        return (self.link or self.uri).rstrip("/")


class Tracking(Server):
    """The MLflow server."""

    uri: Address = "http://127.0.0.1:5000"
    experiment: str | None = None
    """Name of the experiment; null is the use case's name."""


class Airflow(Server):
    """The Airflow API server."""

    uri: Address = "http://127.0.0.1:8080"
    connection: str | None = "stepzero_airflow"
    """Airflow connection with a user who may write run notes; null writes none."""


class Spark(Section):
    """How Spark is started."""

    master: str = "local[2]"
    memory: str = "2g"
    quick_start: bool = False
    """Compile lightly: half the processor time of a short job, slower over minutes of work."""
    deequ_jar: str | None = None
    """Path of a Deequ jar of your own; null is the one that set-up fetched."""
    settings: dict[str, str] = Field(default_factory=dict)


class Capture(Section):
    """What an endpoint keeps of the requests that it answered or refused, in hourly windows of the store."""

    flush_seconds: float = Field(default=10, gt=0)
    """How often rows go to the store; a process that is killed loses at most those of one interval."""
    queue_rows: int = Field(default=100_000, ge=1)
    """Rows that may wait for the store; of more, whole requests are dropped and counted, never delayed."""
    share: Literal[1] | OpenShare = 1
    """Share of requests that are kept, chosen by their ids."""


class Endpoint(Server):
    """The scoring service of one use case."""

    uri: Address = "http://127.0.0.1:8090"
    token_file: str | None = None
    """File (mode 0600) with the token that callers must show; null asks for none."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    max_rows: int = Field(default=1_000, ge=1)
    max_requests_per_second: float | None = Field(default=None, gt=0)
    """Of all callers together; more are told to come again. Null is without a limit."""
    ready_seconds: float = Field(default=120, gt=0)
    capture: Capture | None = None
    """Null keeps nothing; then nothing can be watched."""


class ObjectStore(Section):
    """The S3 that a store of ``s3://`` lies in, where it is not AWS's own."""

    endpoint: Address
    """For example ``http://127.0.0.1:8333``."""
    region: str = "us-east-1"
    server: Literal["swift"] | None = None
    """``swift``: `up` starts OpenStack Swift with its s3api on this machine. Null: somebody else runs it."""
    credentials_file: str | None = None
    """File (mode 0600) with ``{"key": …, "secret": …}``; null leaves it to AWS's usual places."""


class Arrivals(Section):
    """How runs learn of files that land."""

    poll_seconds: float = Field(default=10, gt=0)
    """Time between two looks at the landing folder; with a queue, the longest that a look waits for an event."""
    queue: str | None = None
    """Address of an SQS queue that S3 sends its events to; null looks at the folder only."""
    connection: str = "aws_default"
    """Airflow connection for the queue."""


class SageMaker(Section):
    """SageMaker, where throw-away endpoints are made there instead of by the endpoint host of this machine.

    A stage that asks them finds AWS as any program does: by its role, or by AWS's variables.
    """

    role: str
    """Name or ARN of the role that the container runs as; it may read the store."""
    image: str
    """Address of the project's container in ECR, for the architecture of `instance`."""
    instance: str = "ml.m6g.large"
    connection: str = "aws_default"
    """Airflow connection that endpoints are made and removed with."""
    check_seconds: int = Field(default=15, ge=1)
    """Time between two looks at an endpoint that is made or removed."""
    healthy_seconds: int = Field(default=1_800, ge=1)
    """How long one may take until it serves; then it has failed."""
    lease_seconds: float = Field(default=7_200, gt=0)
    """What is older is removed by the janitor, whatever became of who asked for it."""


class Signing(Section):
    """The keys (Ed25519) that sign what was decided on a version, and check it before it serves.

    Where it is declared, evidence without the right signature is refused. The private key belongs where the stage
    `approve` runs, the public one wherever something is deployed or served.
    """

    public_key_file: str
    """PEM."""
    private_key_file: str | None = None
    """PEM, readable by its owner alone."""
    private_key_variable: str | None = None
    """Environment variable with the PEM; a name under `secrets` fills it from an Airflow connection, for the stage
    `approve` and no other."""


class Approvers(Section):
    """Who may decide where a person is asked; Airflow's own roles decide who may answer at all."""

    users: tuple[str, ...] = ()
    """Airflow users by id or name; none is everybody whom Airflow lets answer."""
    not_the_author: bool = False
    """Whether whoever started the run may not decide on what it made."""


class FeatureStore(Section):
    """Where features are served from; the stage `publish_features` writes there, endpoints read."""

    online: dict[str, Any] = Field(default_factory=lambda: {"type": "sqlite"})
    """Feast's own `online_store` section: ``{type: sqlite, path: …}``, ``{type: redis, connection_string: …}``,
    ``{type: dynamodb, region: …}``. SQLite without a path lies in the store, where that is a folder."""

    @field_validator("online")
    @classmethod
    def _typed(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not str(value.get("type") or ""):
            msg = "online has a type, for example sqlite, redis or dynamodb"
            raise ValueError(msg)
        return value


class StageResources(Section):
    """Where one stage is launched and what it may use."""

    launcher: str = "process"
    """``process``, ``spark``, or ``package.module:function`` of yours."""
    queue: str | None = None
    platform: Literal["linux/amd64", "linux/arm64"] | None = None
    """Architecture of the container or remote job; null is whatever the worker is."""
    pool: str = "default_pool"
    slots: int = Field(default=1, ge=1)
    cpu: int = Field(default=1, ge=1)
    memory: str = "2g"
    timeout_minutes: float = Field(default=60, gt=0)
    machine: str | None = None
    """Which of `machines` the stage runs on; null states no cost."""
    workers: int = Field(default=1, ge=1, le=64)
    """Tasks that share one search; only `tune` can be shared."""
    retries: int = Field(default=2, ge=0)
    retry_delay_seconds: float = Field(default=5, ge=0)


class Pool(Section):
    """An Airflow pool that `up` creates."""

    slots: int = Field(ge=1)
    description: str = ""


class MachineType(Section):
    """A kind of machine and what an hour of it costs you; never guessed."""

    price_per_hour: float | None = Field(default=None, gt=0)
    currency: str = "USD"


Event = Literal["failed_gate", "waiting_approval", "fired_monitor"]
"""What people are told of: a verdict ended a run, a person is asked, a monitor fired."""
CHANNELS = ("log", "slack", "sns", "smtp")


class Recipient(Section):
    """One way to reach people."""

    by: str = "log"
    """``log`` (of the task), ``slack``, ``sns``, ``smtp``, or ``package.module:function`` of yours."""
    connection: str | None = None
    """Airflow connection; null is the one that the provider takes by itself."""
    to: str | None = None
    """Slack channel, ARN of an SNS topic, or mail addresses with commas between them."""

    @model_validator(mode="after")
    def _reachable(self) -> Recipient:
        if self.by not in CHANNELS and not (is_dotted(self.by) and ":" in self.by):
            msg = f"by is one of {', '.join(CHANNELS)}, or package.module:function of yours, not {self.by!r}"
            raise ValueError(msg)
        if self.by in {"sns", "smtp"} and not self.to:
            msg = f"{self.by} needs `to`: {'the ARN of a topic' if self.by == 'sns' else 'a mail address'}"
            raise ValueError(msg)
        return self


class Environment(Section):
    """Everything that differs between a laptop and a cluster."""

    name: str
    store: str
    """``file:///folder`` or ``s3://bucket/prefix``."""
    s3: ObjectStore | None = None
    tracking: Tracking = Tracking()
    airflow: Airflow = Airflow()
    spark: Spark = Spark()
    endpoints: dict[str, Endpoint] = Field(default_factory=dict)
    """Use case → its scoring service, supervised by `up` or by the platform."""
    sagemaker: SageMaker | None = None
    """Null: throw-away endpoints are processes of this machine."""
    arrivals: Arrivals = Arrivals()
    feature_store: FeatureStore = FeatureStore()
    approval: Literal["rule", "person"] = "person"
    approvers: Approvers = Approvers()
    signing: Signing | None = None
    secrets: dict[str, str] = Field(default_factory=dict)
    """Name → Airflow connection id; resolved by the launcher, never written down."""
    notify: dict[Event, tuple[Recipient, ...]] = Field(default_factory=dict)
    """Event → who is told and how. What is not named goes to the log of the task; an empty list tells nobody."""
    pools: dict[str, Pool] = Field(default_factory=dict)
    machines: dict[str, MachineType] = Field(default_factory=dict)
    """Machine type → its price as you pay it: regions, discounts and taxes differ."""
    stages: dict[str, StageResources] = Field(default_factory=dict)
    """Stage name → resources; ``default`` serves the others."""

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            msg = f"a name is lower case letters, digits and underscores, not {value!r}"
            raise ValueError(msg)
        return value

    @field_validator("store")
    @classmethod
    def _store(cls, value: str) -> str:
        if not value.startswith(("file:///", "s3://", "memory://")):
            msg = f"a store is file:///folder or s3://bucket/prefix, not {value!r}"
            raise ValueError(msg)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _workers(self) -> Environment:
        for name, granted in self.stages.items():
            if granted.workers > 1 and name != "tune":
                msg = "1: only the stage tune is a search that several tasks can share"
                raise ElsewhereError(msg, location=("stages", name, "workers"), value=granted.workers)
            if granted.machine is not None and granted.machine not in self.machines:
                msg = f"a key of machines; {did_you_mean(granted.machine, self.machines)}"
                raise ElsewhereError(msg, location=("stages", name, "machine"), value=granted.machine)
        return self

    def price(self, stage: str) -> MachineType | None:
        """Return what an hour of the stage's machine costs; None where that is not declared."""
        machine = self.resources(stage).machine
        found = self.machines[machine] if machine else None
        return found if found and found.price_per_hour else None

    def resources(self, stage: str) -> StageResources:
        """Return where a stage is launched."""
        return self.stages.get(stage, self.stages.get("default", StageResources()))

    def recipients(self, event: Event) -> tuple[Recipient, ...]:
        """Return who is told of an event."""
        return self.notify.get(event, (Recipient(),))


def require_price(price: MachineType | None) -> float:
    """Return what an hour of a machine costs; a budget of money is nothing without it.

    Raises:
        SpecError: There is no price.
    """
    if price is None or price.price_per_hour is None:
        raise SpecError(
            "train.search.budget.money",
            value=bare("no price of the machine that tunes"),
            allowed="a budget of money where an hour of the machine has a price",
            action="in the environment file set stages.tune.machine, and price_per_hour of it under machines",
        )
    return price.price_per_hour
