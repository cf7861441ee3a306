"""How often a step is tried: what another try may mend is tried again, and each retry is told as an event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from moorage.errors import MoorageError
from moorage.model.event import Action
from moorage.model.step import Step, StepKind
from moorage.work.runs.run import Run

if TYPE_CHECKING:
    from tenacity import RetryCallState

_TRIES = 3
_TRIES_OF_IMAGES = 4
"""Registries are further away, and out of order more often, than the engine."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 4.0
_JITTER_S = 0.2


async def retried(once: Callable[[Step, Run], Awaitable[str]], step: Step, run: Run) -> str:
    """Do a step, again after 1, 2 and 4 seconds if it fails with what may pass (`error.retryable`)."""
    from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

    tries = _TRIES_OF_IMAGES if step.kind in (StepKind.BUILD, StepKind.PULL) else _TRIES
    retrying = AsyncRetrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(tries),
        wait=wait_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S) + wait_random(0, _JITTER_S),
        before_sleep=partial(_tell, step, run, tries),
        reraise=True,
    )
    return await retrying(once, step, run)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, MoorageError) and error.retryable


def _tell(step: Step, run: Run, tries: int, state: RetryCallState) -> None:
    pause_s = state.next_action.sleep if state.next_action else 0.0
    error = state.outcome.exception() if state.outcome else None
    words = f"again in {pause_s:.0f} s, {state.attempt_number + 1} of {tries}: {error}"
    run.tell(Action.RETRY, step.id, words, service=step.service)
