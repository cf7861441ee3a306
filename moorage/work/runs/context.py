"""What a run works with: created once, by its caller, and passed on as one value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from moorage.interfaces import World
from moorage.model.step import Plan, Step

StepRunner = Callable[[Step, list[Any]], Awaitable[Any]]
"""Does one step, given what the steps it waited for returned."""


class Approval:
    """Who is asked, and when."""

    def __init__(
        self, ask: Callable[[Plan, Callable[[str], None]], Awaitable[None]], *, production: bool = False
    ) -> None:
        self.ask = ask
        """Returns when somebody has agreed to the plan, raises InterruptedRunError if nobody does. It is given what
        tells people that it waits."""
        self.production = production
        """The run's deployment is tagged: it asks whatever the stack's definition says, and the stack is marked."""


@dataclass(frozen=True)
class Context:
    """The world, who runs the steps, the flow run it belongs to, and who has to agree."""

    world: World
    """Its `emit` is where the events of the run go."""
    step_runner: Callable[[Any], StepRunner] | None = None
    """For a `Run`: what runs its steps, as task runs of Prefect for instance. None: they are run just so."""
    flow_run_id: str | None = None
    """None: no flow run of Prefect."""
    approval: Approval | None = None
    """None: nobody is asked."""
    building: AbstractAsyncContextManager[Any] = field(default_factory=nullcontext)
    """What a build waits for: in a fleet, until fewer images are built."""

    @property
    def for_production(self) -> bool:
        """What it does makes a stack one for production."""
        return self.approval is not None and self.approval.production

    @property
    def alone(self) -> Context:
        """The same without Prefect and without questions: for what has to end whatever becomes of the caller."""
        return Context(self.world)

    def waiting(self, lock_timeout_s: float) -> Context:
        """The same with another limit for the wait for a stack's lock."""
        settings = self.world.settings.model_copy(update={"lock_timeout_s": lock_timeout_s})
        return replace(self, world=replace(self.world, settings=settings))
