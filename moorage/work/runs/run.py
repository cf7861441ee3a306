"""One run: its stack, what it has found so far, and the events that it emits."""

from __future__ import annotations

import os
import pwd
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from moorage.errors import MoorageError
from moorage.model.definition import Hidden, Service
from moorage.model.event import Action, Event
from moorage.model.generation import Generation
from moorage.model.state import Observed, RunOutcome, RunRecord, Span, SpanOutcome
from moorage.model.step import Operation, Step
from moorage.rules import labels
from moorage.rules.planning import Desired
from moorage.rules.undo import snapshot
from moorage.work.definitions import generations
from moorage.work.definitions.request import UpRequest
from moorage.work.queries import engines
from moorage.work.queries.plan import PlannedUp
from moorage.work.runs import retention
from moorage.work.runs.context import Context


class Run:
    """What one run of one stack knows. Not a model: it grows while the run goes on."""

    def __init__(self, context: Context, operation: Operation, stack: str, request: UpRequest | None = None) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.context = context
        self.world = context.world
        self.operation = operation
        self.stack = stack
        self.request = request
        self.services: dict[str, Service] = {}
        self.planned: PlannedUp | None = None
        """What an `up` was planned to do. None: it is about a stored generation, or about what is there."""
        self._desired: Desired | None = None
        self.generation: Generation | None = None
        self.excluded: set[tuple[int, str]] = set()
        """Ports that the engine refused although nobody was seen to hold them."""
        self.ready_s: dict[str, float] = {}
        """Service → seconds from the start of its containers to ready."""
        self.started: dict[str, float] = {}
        self.unhooked: set[str] = set()
        """Ids of containers that this run has begun to start and whose post_start hooks have not all been run."""
        self.spans: list[Span] = []
        self.missed: set[str] = set()
        """Services that did not become ready and that nobody requires."""
        self.began = self.world.clock.monotonic()
        self.record: RunRecord | None = None
        self.flow_run_id = context.flow_run_id
        self.committed: Observed | None = None
        """What was there when it committed. None: it has not."""
        self.with_volumes = False
        """`down --volumes`: anonymous and named volumes go too."""
        self.grace_s: float | None = None
        """Grace period of stops. None: what the definition says."""
        self.force = False
        """`stop --force`: when the grace period is over all is killed, whatever pre_stop hooks are doing."""
        self.spared: set[str] = set()
        """Ids of containers and names of volumes that an undo leaves alone: they were there before."""
        self.discarded: dict[str, Service] = {}
        """Services of the definition that is undone: how long what it started wants to be asked to stop."""
        self.again: frozenset[str] = frozenset()
        """Services that a restart starts again; one-shots among them run even if they have succeeded before."""
        self.leaves_ended = False
        """An undo: what has ended well, as before the run, is not started again."""
        self.recreated: tuple[frozenset[str], bool] = (frozenset(), False)
        """Services whose containers a restart creates, and whether it does so where they are as they should be."""
        self.cut_off: frozenset[str] = frozenset()
        """Services that were up and that the creation of containers has replaced or stopped."""
        self.hide: Callable[[Any], Any] = self.world.censor((), Hidden(secrets=self._secrets()))
        """Hides the definition's secrets in whatever leaves the run: events, errors, reports."""

    def note(self, step: Step, began: float, outcome: SpanOutcome) -> None:
        """Remember when a step was done; `began`: by the monotonic clock."""
        now = self.world.clock.monotonic()
        span = Span(
            step=step.id,
            kind=step.kind,
            service=step.service,
            needs=step.needs,
            began_s=round(max(0.0, began - self.began), 4),
            ended_s=round(max(0.0, now - self.began), 4),
            outcome=outcome,
        )
        self.spans.append(span)

    def rewrite(self, **facts: Any) -> None:
        """Change what is on record. What the registry did not take is not kept here: a later call would write it."""
        if self.record is not None:
            changed = self.record.model_copy(update=facts)
            self.world.store.update_run(changed)
            self.record = changed

    def close(self, outcome: RunOutcome) -> None:
        """Write down that the run has ended. Where that call fails, the registry knows whether it is done."""
        ended: dict[str, Any] = {"outcome": outcome, "finished_at": self.world.clock.now()}
        try:
            if self.record:
                self.rewrite(spans=tuple(self.spans), **ended)
            else:
                self.world.store.close_run(self.id, outcome, ended["finished_at"])
        except Exception:
            if not self.is_closed_as(outcome):
                raise
            if self.record:
                self.record = self.record.model_copy(update=ended)

    def is_closed_as(self, outcome: RunOutcome) -> bool:
        """True: the registry says so. False too where it cannot be read."""
        with suppress(Exception):
            return any(one.id == self.id and one.outcome == outcome for one in self.world.store.runs(self.stack))
        return False

    def _is_on_record(self) -> bool:
        with suppress(Exception):
            return self.world.store.run(self.id) is not None
        return False

    def tell(self, action: Action, step: str = "", message: str = "", **facts: Any) -> None:
        """Send an event. `facts`: service, elapsed_s; the rest goes to `details`.

        Whoever listens cannot fail the run: a terminal may be gone, a log may not take a line.
        """
        service, elapsed_s = facts.pop("service", None), facts.pop("elapsed_s", None)
        event = Event(
            at=self.world.clock.now(),
            stack=self.stack,
            action=action,
            step=step,
            service=service,
            message=self.hide(message),
            elapsed_s=elapsed_s,
            details=self.hide(facts),
        )
        with suppress(Exception):
            self.world.emit(event)

    def censor(self, error: MoorageError) -> None:
        """Hide secrets in an error before it leaves the step: Prefect stores its words, people paste them."""
        error.censor(self.hide)

    def open(self, observed: Observed, arguments: dict[str, Any] | None = None) -> None:
        """Write the run down before its first effect."""
        store = self.world.store
        current = store.stack(self.stack)
        record = RunRecord(
            id=self.id,
            stack=self.stack,
            operation=self.operation,
            pid=os.getpid(),
            host=socket.gethostname(),
            user=_account(),
            started_at=self.world.clock.now(),
            previous_generation=current.generation if current else None,
            before=snapshot(
                observed,
                store.leases(self.stack),
                self.world.engine.tags(labels.pin_prefix(self.stack)),
                on_record=current is not None,
            ),
            arguments=arguments or {},
            flow_run_id=self.flow_run_id,
            engine=engines.of(self.world),
        )
        try:
            store.open_run(record)
        except Exception:
            # The registry knows whether it is done, not the call: a record that nobody knows of would stay open.
            if not self._is_on_record():
                raise
        self.record = record
        retention.make_room_for_runs(self.world, self.stack)

    def pin(self) -> Generation:
        """Pin the images that are there now, and write down the generation that comes of it."""
        self.generation = generations.make(self.world, self.desired, self.record)
        return self.generation

    def know(self, generation: Generation) -> None:
        """The run is about the services of a generation; the stack's secrets are hidden in what the run tells.

        Reads files: not for the event loop.
        """
        self.services = dict(generation.services)
        self.hide = generations.censor(self.world, self.stack, generation)

    def adopt(self, planned: PlannedUp) -> None:
        """Take over what a plan is to lead to, and tell its notices. Reads files: not for the event loop."""
        self.planned, self._desired = planned, planned.desired
        self.services = self.desired.all_services
        if self.kept:
            self.recreated = (frozenset(self.desired.definition.services), False)
        self.hide = generations.censor(self.world, self.stack, self.desired.building)
        for notice in planned.plan.notices:
            self.tell(Action.NOTICE, message=notice)

    @property
    def kept(self) -> frozenset[str]:
        """Services that an `up` of some services was not asked for: they stay as they are, ready or not."""
        return frozenset(self.desired.kept.services) if self.planned else frozenset()

    @property
    def desired(self) -> Desired:
        """What the plan is to lead to, with the ports that were leased for it."""
        assert self._desired is not None, "a plan comes first"  # noqa: S101 - a bug, not a user's error
        return self._desired

    @desired.setter
    def desired(self, value: Desired) -> None:
        self._desired = value

    def _secrets(self) -> tuple[str, ...]:
        return self.request.source.secret_values if self.request else ()


def _account() -> str:
    """Name of the account that this process runs under. Not of `LOGNAME` and the like, which anybody can set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account without a line in passwd, as in many containers
        return f"uid {os.getuid()}"
