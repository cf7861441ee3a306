"""The failure report: everything that helps to find out why a run failed, collected before the undo."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from moorage.errors import HomeError, MoorageError, said
from moorage.interfaces import World
from moorage.model.event import Action, Event
from moorage.model.state import Container
from moorage.rules import retention
from moorage.work.queries.last_lines import last_lines
from moorage.work.runs.retention import make_room_for_reports
from moorage.work.runs.run import Run

_LOG_LINES = 1000


def write(run: Run, error: BaseException) -> Path:
    """Write the report of a failed run and give its path; what cannot be collected is said in it."""
    at = run.world.clock.now()
    name = f"failures/{run.stack}-{at:%Y%m%dT%H%M%S%f}-{run.id}.json"
    body = {
        "stack": run.stack,
        "operation": run.operation,
        "run": run.id,
        "flow_run_id": run.flow_run_id,
        "at": at.isoformat(),
        "error": error.as_dict() if isinstance(error, MoorageError) else _foreign(error),
        "services": _services(run),
    }
    path = run.world.files.write(name, json.dumps(run.hide(body), indent=2, default=str))
    make_room_for_reports(run.world, run.stack)
    return path


def _foreign(error: BaseException) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error), "traceback": traceback.format_exception(error)}


def _services(run: Run) -> list[dict[str, Any]]:
    try:
        observed = run.world.engine.observe(run.stack)
        return [_service(run, container) for container in observed.containers]
    except Exception as error:  # noqa: BLE001 - the report is about another error
        return [{"error": said(error)}]


def _service(run: Run, container: Container) -> dict[str, Any]:
    return {
        "service": container.service,
        "container": container.name,
        "state": container.state,
        "engine_health": container.health,
        "exit_code": container.exit_code,
        "oom_killed": container.oom_killed,
        "restarts": container.restarts,
        "error": container.error or None,
        "log": last_lines(run.world, container.id, _LOG_LINES).splitlines(),
    }


def last_report(world: World, stack: str) -> dict[str, Any] | None:
    """The newest failure report of a stack, secrets hidden in it, its file as `file`. None: there is none."""
    found = [report for name in world.files.names("failures") if (report := retention.report(name))]
    newest_first = sorted((one for one in found if one.stack == stack), key=lambda one: one.at, reverse=True)
    read = (_read(world, one.name) for one in newest_first)
    return next((report for report in read if report), None)


def _read(world: World, name: str) -> dict[str, Any] | None:
    """A report, its file as `file`. None: it is gone, or damaged, which is told."""
    try:
        text = world.files.read(name)
        report = json.loads(text) if text else None
    except (HomeError, ValueError, RecursionError) as error:
        message = f"{name}: this failure report cannot be read and is left out: {said(error)}"
        world.emit(Event(at=world.clock.now(), stack="", action=Action.NOTICE, message=message))
        return None
    return {**report, "file": name} if isinstance(report, dict) else None
