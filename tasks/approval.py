"""Approval: a run shows what it would do and waits for Resume in the UI before it does anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import uuid4

from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout, ObjectNotFound
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


async def approval() -> Approval:
    """How this run gets approved: by Resume in the UI; always required if it is for production."""
    return Approval(_ask, production=await _is_for_production())


async def _is_for_production() -> bool:
    """True: this run is tagged, its deployment is, or the same of a run that called it, at whatever depth.

    The tags of a run are those that its deployment had when it was created, and both can be edited: either will do.
    """
    here = FlowRunContext.get()
    run: FlowRun | None = here.flow_run if here else None
    async with get_client() as client:
        while run:
            if _says_so(run.tags) or await _is_deployed_so(client, run):
                return True
            run = await _caller_of(client, run)
    return False


def _says_so(tags: Iterable[str]) -> bool:
    return TAG in {tag.casefold() for tag in tags}


async def _is_deployed_so(client: PrefectClient, run: FlowRun) -> bool:
    if run.deployment_id is None:
        return False
    try:
        return _says_so((await client.read_deployment(run.deployment_id)).tags)
    except ObjectNotFound:  # it was deleted meanwhile
        return False


async def _caller_of(client: PrefectClient, run: FlowRun) -> FlowRun | None:
    """The run that this one is a subflow of. None: it is nobody's."""
    if run.parent_task_run_id is None:
        return None
    task_run = await client.read_task_run(run.parent_task_run_id)
    return await client.read_flow_run(task_run.flow_run_id) if task_run.flow_run_id else None


async def _ask(plan: Plan, say: Callable[[str], None]) -> None:
    """Wait until somebody presses Resume. Raises InterruptedRunError if nobody does in time."""
    timeout_s = settings().approve_timeout_s
    await acreate_markdown_artifact(
        markdown=plan_markdown(plan), key=key_of(plan.stack, "plan"), description=f"What {flow_run.name} would do"
    )
    address = own_address()
    page = f" at {flow_run_url(address, flow_run.id)}" if address and address.ui_url else ""
    say(f"waiting for approval, at most {timeout_s} s: Resume{page} continues, Cancel ends it")
    # A key of our own: by Prefect's, which is a number, a run can say at its creation that it has paused already.
    try:
        await apause_flow_run(timeout=timeout_s, poll_interval=_LOOK_EVERY_S, key=str(uuid4()))
    except FlowPauseTimeout:
        message = f"{plan.stack}: not approved within {timeout_s} s; nothing was done"
        raise InterruptedRunError(message, stack=plan.stack, undone=True) from None
