"""The scheduler of a run: starts each step as soon as the steps that it needs are done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from moorage.errors import MoorageError, PortTakenError
from moorage.model.step import Step

StepRunner = Callable[[Step, list[Any]], Awaitable[Any]]
"""Does one step, given what the steps it waited for returned."""


EXPECTING: ContextVar[Callable[[tuple[Step, ...]], None] | None] = ContextVar("EXPECTING", default=None)
"""Who wants to know beforehand which steps are to be done. None: nobody."""


async def carry_out(steps: tuple[Step, ...], act: StepRunner) -> None:
    """Do the steps, each as soon as all it needs is done. The first failure ends the others and is raised."""
    if expect := EXPECTING.get():
        expect(steps)
    doing: dict[str, asyncio.Task[Any]] = {}
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                needs = [doing[need] for need in step.needs if need in doing]
                doing[step.id] = group.create_task(_after(needs, step, act), name=step.id)
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


async def _after(needs: list[asyncio.Task[Any]], step: Step, act: StepRunner) -> Any:
    return await act(step, [await need for need in needs])


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that says most: a port that was taken can be mended, one of ours explains itself."""
    flat = [
        e
        for error in errors.exceptions
        for e in (error.exceptions if isinstance(error, BaseExceptionGroup) else [error])
    ]
    for kind in (PortTakenError, MoorageError):
        if found := [error for error in flat if isinstance(error, kind)]:
            return found[0]
    return flat[0]
