"""Init containers (`pre_start`): they run one after the other before the containers of their service start.

Compose makes them when it makes these containers, so a start that makes none runs none, as with Compose. They go once
the service has started, not before: a run that is cut off in between finds that they have done their work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from moorage.errors import EngineError, EngineUnavailableError, RunError
from moorage.model.definition import Service
from moorage.model.event import Action
from moorage.model.state import Container
from moorage.model.step import Step
from moorage.work.queries.last_lines import last_lines
from moorage.work.runs.removal import stop_and_remove
from moorage.work.runs.run import Run
from moorage.work.runs.wait import LOG_LINES
from moorage.work.threads import in_thread

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _SLOWING = 0.05, 1.0, 1.5


async def run_all(step: Step, run: Run, service: Service, containers: Sequence[Container]) -> tuple[Container, ...]:
    """Run those that have not done their work yet; gives all that are there. Raises RunError when one fails."""
    if not service.pre_start:
        return ()
    found = await in_thread(lambda: run.world.engine.init_containers(run.stack, service.name))
    if not found and all(c.started_at is None for c in containers):
        version = await in_thread(run.world.compose.version)
        where = f"services.{service.name}.pre_start"
        message = f"{where}: Compose {version} has made no init containers"
        raise RunError(
            message, service=service.name, reason="pre_start failed", hint="Compose 5.6 does: `moorage doctor` looks."
        )
    if any(c.is_up for c in containers):  # a further replica: they run once for all
        return found
    for one in found:
        if one.state != "exited" or one.exit_code:
            await _run_one(step, run, service, one)
    return found


async def remove(run: Run, done: Sequence[Container]) -> None:
    """Remove what has done its work, with volumes that are only its own."""
    for one in done:
        await in_thread(partial(stop_and_remove, run, one))


async def _run_one(step: Step, run: Run, service: Service, container: Container) -> None:
    where = f"services.{service.name}.pre_start[{container.number}]"
    try:
        await in_thread(partial(_begin, run, service, container))
    except EngineUnavailableError:  # perhaps of a moment: the step is tried again
        raise
    except EngineError as error:
        raise await _failure(run, service, container, f"{where}: the engine cannot start it: {error}") from None
    ended = await _until_ended(run, service, container, where)
    if ended.exit_code:
        raise await _failure(run, service, ended, f"{where}: ended with exit code {ended.exit_code}")
    log = await in_thread(lambda: last_lines(run.world, container.id, LOG_LINES))
    for line in log.splitlines():
        run.tell(Action.PROGRESS, step.id, f"pre_start[{container.number}]: {line}", service=service.name)


def _begin(run: Run, service: Service, container: Container) -> None:
    engine = run.world.engine
    for known in service.pre_start[container.number : container.number + 1]:
        for file in known.inject:
            engine.put_file(container.id, file.target, file.content.encode(), file.mode, file.uid, file.gid)
    engine.start(container.id)


async def _until_ended(run: Run, service: Service, container: Container, where: str) -> Container:
    """The container when it has ended, however it did. Raises RunError: it is gone, or takes too long."""
    engine, clock, limit_s = run.world.engine, run.world.clock, _limit_s(run, service)
    began, pause_s = clock.monotonic(), _FIRST_PAUSE_S
    while True:
        now = await in_thread(lambda: engine.inspect(container.id))
        if now is None:
            raise await _failure(run, service, container, f"{where}: its container was removed by someone else")
        if not now.is_up:
            return now
        if clock.monotonic() - began >= limit_s:
            await in_thread(lambda: engine.kill(container.id))
            hint = "`--wait-timeout`, or a `timeout` in its `x-moorage.ready`, gives it longer."
            raise await _failure(run, service, container, f"{where}: not done after {limit_s:g} s", hint)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * _SLOWING, _LONGEST_PAUSE_S)


def _limit_s(run: Run, service: Service) -> float:
    """What a service has to become ready in, each of its init containers has to end."""
    asked_s = run.request.wait_timeout_s if run.request else None
    own_s = service.ready.timeout_s if service.ready else None
    return asked_s or own_s or run.world.settings.ready_timeout_s


async def _failure(run: Run, service: Service, container: Container, message: str, hint: str | None = None) -> RunError:
    log = await in_thread(lambda: last_lines(run.world, container.id, LOG_LINES))
    said = f": {log.strip().splitlines()[-1]}" if log.strip() else ""
    return RunError(
        f"{message}{said}",
        service=service.name,
        reason="pre_start failed",
        exit_code_of_service=container.exit_code,
        log=log or None,
        hint=hint or "Its last log lines are in the failure report; `--keep-failed` keeps its container.",
    )
