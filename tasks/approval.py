"""Approval: a run shows what it would do and waits for Resume in the UI before it does anything."""

from __future__ import annotations

from collections.abc import Callable

from prefect.artifacts import acreate_markdown_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run
from prefect.runtime import flow_run

from moorage.errors import InterruptedRunError
from moorage.hub.address import flow_run_url
from moorage.hub.outcome import own_address
from moorage.model.step import Plan
from moorage.settings import settings
from moorage.show.as_markdown import plan_markdown
from moorage.work.runs.context import Approval
from tasks.artifacts import key_of

TAG = "production"
_LOOK_EVERY_S = 1


def approval() -> Approval:
    """How this run gets approved: by Resume in the UI; always required if it is tagged `production`."""
    return Approval(_ask, always=TAG in (flow_run.tags or ()))


async def _ask(plan: Plan, say: Callable[[str], None]) -> None:
    """Wait until somebody presses Resume. Raises InterruptedRunError if nobody does in time."""
    timeout_s = settings().approve_timeout_s
    await acreate_markdown_artifact(
        markdown=plan_markdown(plan), key=key_of(plan.stack, "plan"), description=f"What {flow_run.name} would do"
    )
    address = own_address()
    page = f" at {flow_run_url(address, flow_run.id)}" if address and address.ui_url else ""
    say(f"waiting for approval, at most {timeout_s} s: Resume{page} continues, Cancel ends it")
    try:
        await apause_flow_run(timeout=timeout_s, poll_interval=_LOOK_EVERY_S)
    except FlowPauseTimeout:
        message = f"{plan.stack}: not approved within {timeout_s} s; nothing was done"
        raise InterruptedRunError(message, stack=plan.stack, undone=True) from None
