"""State as the engine reports it, never assumed."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from moorage.model.base import Frozen
from moorage.model.definition import HealthCheck, Protocol, RestartPolicy
from moorage.model.engine import EngineRecord
from moorage.model.step import StepKind
from moorage.model.unreadable import Unreadable


class BoundPort(Frozen):
    """A container port and where the engine publishes it."""

    target: int
    protocol: Protocol
    host_ip: str
    published: int


class Attachment(Frozen):
    """A container's place on one network."""

    id: str = ""
    """Id of the network. Empty: the container was never started, and the engine looks the name up when it is."""
    aliases: tuple[str, ...] = ()
    """The names, besides its own, under which others on the network find it."""


class VolumeOptions(Frozen):
    """What a volume was created with."""

    driver: str = "local"
    options: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)


UP = ("running", "paused", "restarting")
"""States of a container that somebody has started, and that has not ended for good."""


class Container(Frozen):
    """One container of a stack."""

    id: str
    name: str
    service: str
    number: int = 1
    """Index of the replica, from 1."""
    state: str
    """The engine's term: created, running, paused, restarting, removing, exited, dead."""
    health: str | None = None
    """starting, healthy, unhealthy. None: the container has no health check."""
    exit_code: int | None = None
    """Of its last end, even while the engine waits to restart it. None: it has not ended."""
    oom_killed: bool = False
    restarts: int = 0
    """How often the engine has started it again since somebody started it."""
    restart_policy: RestartPolicy = RestartPolicy.NO
    most_restarts: int = Field(default=0, ge=0)
    """With `on-failure:N`, how often the engine starts it again at most. 0: there is no limit."""
    program: tuple[str, ...] = Field(default=(), repr=False)
    """Its first process with all arguments, as the engine has made it of entrypoint and command."""
    image_id: str = ""
    digest: str = ""
    """Label `moorage.digest`: which content the container was created from."""
    ports: tuple[BoundPort, ...] = ()
    addresses: tuple[str, ...] = ()
    """Its IP addresses on the stack's networks."""
    networks: dict[str, Attachment] = Field(default_factory=dict)
    """Name of a network → its place there. A network that was removed stays in it until the container is."""
    volumes: dict[str, str] = Field(default_factory=dict)
    """Path → volume mounted there; anonymous volumes have 64 hexadecimal digits as their name."""
    created_at: datetime | None = None
    """None: not known."""
    started_at: datetime | None = None
    """None: never started."""
    finished_at: datetime | None = None
    """Its last end, even if it was started again since. None: it has never ended."""
    health_check: HealthCheck | None = None
    """As merged by the engine from image and definition. None: there is none."""
    error: str = ""
    """The engine's error message of a failed start."""
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def is_up(self) -> bool:
        """True: it runs, is paused, or is between two lives of its restart policy."""
        return self.state in UP


class Observed(Frozen):
    """The objects of a stack on the engine."""

    stack: str
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    """Of `pre_start`: made by Compose beside those of their service, and gone once these have started."""
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    network_ids: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Name → ids of every network on the engine, because services may be on networks of others. An engine may have
    several of one name."""
    subnets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The same: name → subnets, such as `172.18.0.0/16`."""
    volume_options: dict[str, VolumeOptions] = Field(default_factory=dict)
    """Name → what each of `volumes` was created with."""
    unreadable: tuple[Unreadable, ...] = ()
    """Containers that make no sense: Compose made none of them as they are, and they count as none of the above."""
    one_offs: tuple[Container, ...] = ()
    """Containers of `moorage run` (and `docker compose run`): they are of no service's number."""

    def of(self, service: str) -> tuple[Container, ...]:
        """The containers of one service, by replica number."""
        return tuple(sorted((c for c in self.containers if c.service == service), key=lambda c: c.number))


class StackState(StrEnum):
    """State of a whole stack."""

    RUNNING = "running"
    """All services are ready."""
    DEGRADED = "degraded"
    """Some services are not ready, or not running."""
    STARTING = "starting"
    """A run is bringing it up now, or services are running but not ready yet."""
    STOPPED = "stopped"
    """There are containers, but none is running."""
    ABSENT = "absent"
    """There are no containers."""


class ServiceStatus(Frozen):
    """One service in `status --json`."""

    state: str
    ready: bool
    engine_health: str | None = None
    containers: tuple[str, ...] = ()
    image_id: str | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    restarts: int = 0
    time_to_ready_s: float | None = None
    """From the start of its container to ready in the last run. None: not known."""
    ports: tuple[BoundPort, ...] = ()
    addresses: tuple[str, ...] = ()
    """Of its containers on their networks, as long as they run."""


class StackStatus(Frozen):
    """`status --json`."""

    stack: str
    path: str | None
    state: StackState
    generation: int | None
    services: dict[str, ServiceStatus]
    networks: tuple[str, ...] = ()
    """Its own networks, which are removed with it."""
    shared_networks: tuple[str, ...] = ()
    """`external` networks that its services use: created by others, and never removed."""
    engine: str = ""
    """Address of the engine that was asked, with its context if one names it."""
    notices: tuple[str, ...] = ()
    """What is not as its generation says, without being in the way: a network that a service is not on, a volume that
    keeps its old options."""


class StackRecord(Frozen):
    """A stack that is on record: a line of `moorage ls`."""

    name: str
    path: str
    created_at: AwareDatetime
    generation: int | None = None
    """The current one. None: nothing was committed yet."""
    expires_at: AwareDatetime | None = None
    """When `sweep` may end it. None: never."""
    repository: str | None = None
    branch: str | None = None
    production: bool = False
    """A deployment tagged `production` has been at it: whatever is done to it needs approval."""
    engine: EngineRecord | None = None
    """The engine that it is on. None: written by an earlier version."""


class RunOutcome(StrEnum):
    """How a run stands in the registry.

    ```text
                 open (no outcome, no end)
                  │
      ┌───────────┼──────────────┬─────────────┬──────────────┐
      ▼           ▼              ▼             ▼              ▼  killed
    committed   undone     undo incomplete   kept        whoever takes the lock next
                 ▲             │  (no end)   failed          │
                 └─────────────┤             interrupted     │
                               ▼                             ▼
                      recovered, recovery incomplete ◄───────┘
    ```

    `up` and `rollback` end as committed, undone, undo incomplete or kept; the others roll forward and end as committed,
    failed or interrupted. The commit is the end of the frame: nothing after it can undo or fail the run.
    """

    COMMITTED = "committed"
    """All of it was done, and is on record."""
    UNDONE = "undone"
    """It failed or was interrupted, and nothing of it is left."""
    UNDO_INCOMPLETE = "undo incomplete"
    """The undo failed too. It has no end: whoever takes the lock next tries again."""
    KEPT = "kept"
    """It failed, and was left as it is for inspection (`--keep-failed`)."""
    FAILED = "failed"
    """A service failed it; what was done stays."""
    INTERRUPTED = "interrupted"
    """It was cancelled; what was done stays."""
    RECOVERED = "recovered"
    """Its process died, and somebody else brought it to its end."""
    RECOVERY_INCOMPLETE = "recovery incomplete"
    """The same, but for what was told."""


class SpanOutcome(StrEnum):
    """How a step of a run ended."""

    DONE = "done"
    SKIPPED = "skipped"
    """It was done already."""
    FAILED = "failed"
    CUT_OFF = "cut off"
    """Something else failed, or the run was cancelled."""


class Span(Frozen):
    """Start and end of one step of a run. Seconds since the run began."""

    step: str
    """Its id."""
    kind: StepKind
    service: str | None = None
    needs: tuple[str, ...] = ()
    began_s: float = Field(allow_inf_nan=False)
    ended_s: float = Field(allow_inf_nan=False)
    outcome: SpanOutcome = SpanOutcome.DONE


class RunHead(Frozen):
    """A run without what it did: enough to find it by, and to say whether it is still needed."""

    id: str
    stack: str
    operation: str
    services: tuple[str, ...] = ()
    """What it was asked to be about. Empty: all, or it does not matter."""
    outcome: str | None = None
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    has_timeline: bool = False
    """It started something."""


class RunRecord(Frozen):
    """An operation, recorded before its first effect and closed after its last."""

    id: str
    stack: str
    operation: str
    pid: int
    host: str
    user: str = ""
    """Account of the user who started it, or of the worker if that executed it. Empty: not known."""
    started_at: AwareDatetime
    previous_generation: int | None = None
    generation: int | None = None
    before: dict[str, Any] = Field(default_factory=dict)
    """State before the run: `containers`, `networks`, `volumes`, `tags`, `leases` (`rules.undo.snapshot`)."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Arguments for rolling it forward after a crash."""
    spans: tuple[Span, ...] = ()
    """Times of its steps, without those of an undo. Empty: not known, or there were none."""
    flow_run_id: str | None = None
    engine: EngineRecord | None = None
    """The engine that it works on. None: written by an earlier version."""
    finished_at: AwareDatetime | None = None
    """None: it did not finish: whoever takes the lock next recovers it."""
    outcome: RunOutcome | None = None
    """None: not finished. UNDO_INCOMPLETE has no end either."""

    @property
    def has_timeline(self) -> bool:
        """True: it started something, so that there is a timeline to draw."""
        return any(span.kind in (StepKind.START, StepKind.READY) for span in self.spans)

    @property
    def head(self) -> RunHead:
        """The run without what it did."""
        return RunHead(
            id=self.id,
            stack=self.stack,
            operation=self.operation,
            services=_names(self.arguments.get("services")),
            outcome=self.outcome,
            started_at=self.started_at,
            finished_at=self.finished_at,
            has_timeline=self.has_timeline,
        )

    @property
    def by(self) -> str:
        """Who started it, and where: `susan@laptop, pid 12`."""
        return f"{self.user}@{self.host}, pid {self.pid}" if self.user else f"{self.host}, pid {self.pid}"


def _names(value: Any) -> tuple[str, ...]:
    """Names in a record that somebody else may have written."""
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()
