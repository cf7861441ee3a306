"""Approval: a run shows its plan and waits for Resume in the UI before it does anything."""

from __future__ import annotations

import logging

from prefect.artifacts import acreate_markdown_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run
from prefect.runtime import flow_run

from moorage.errors import InterruptedRunError
from moorage.model.step import Plan
from moorage.settings import settings
from moorage.show.as_markdown import plan_markdown
from tasks.artifacts import key_of

TAG = "production"
_LOGGER = logging.getLogger("moorage.run")
_LOOK_EVERY_S = 1


def wants_approval() -> bool:
    """True: the run's deployment is tagged `production`."""
    return TAG in (flow_run.tags or ())


async def approval(plan: Plan) -> None:
    """Return when somebody has pressed Resume. Raises InterruptedRunError if nobody does in time."""
    timeout_s = settings().approve_timeout_s
    await acreate_markdown_artifact(
        markdown=plan_markdown(plan), key=key_of(plan.stack, "plan"), description=f"What {flow_run.name} would do"
    )
    _LOGGER.info("waiting for approval, %s s at most: Resume in the UI goes on, Cancel ends it", timeout_s)
    try:
        await apause_flow_run(timeout=timeout_s, poll_interval=_LOOK_EVERY_S)
    except FlowPauseTimeout:
        message = f"{plan.stack}: nobody approved it within {timeout_s} s; nothing was done"
        raise InterruptedRunError(message, stack=plan.stack, undone=True) from None
    _LOGGER.info("approved")
