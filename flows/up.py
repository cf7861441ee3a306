"""`up`: bring a stack up; it ends with everything ready, or undone."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.rules.durations import seconds
from moorage.work.resolve import Wish, source_of
from moorage.work.up import up as bring_up
from tasks.artifacts import briefly, publish
from tasks.cancelling import cancellable
from tasks.steps import as_task_runs
from tasks.story import told_world


class OnFailure(StrEnum):
    """What becomes of a start that failed."""

    UNDO = "undo"
    KEEP = "keep"


def _run_name() -> str:
    given = flow_run.parameters
    return f"up {given.get('name') or Path(given.get('path') or '.').name}"


def _within(folder: Path, files: list[str] | None) -> list[str]:
    return [str(folder / file) for file in files or ()]


@flow(name="up", flow_run_name=_run_name, persist_result=False, validate_parameters=True)
async def up(
    path: str,
    name: str | None = None,
    files: list[str] | None = None,
    profiles: list[str] | None = None,
    env_files: list[str] | None = None,
    wait_timeout_s: float | None = None,
    on_failure: OnFailure = OnFailure.UNDO,
    ttl: str | None = None,
    strict_ports: bool = False,
    build: bool = False,
    force_recreate: bool = False,
) -> dict[str, Any] | State[Any]:
    """Bring a stack up: all services ready at the end, or everything undone.

    Args:
        path: Directory of the project, the one with the compose file.
        name: Name of the stack. Empty: derived from the directory or the git worktree.
        files: Compose files, relative to the path. Empty: as `docker compose` finds them.
        profiles: Profiles to enable.
        env_files: Files with variables, relative to the path. Empty: the project's `.env`.
        wait_timeout_s: Longest time for one service to become ready, in seconds. Empty: what its health check says.
        on_failure: `undo` leaves no trace of a failed start, `keep` leaves it for a look.
        ttl: How long the stack may live, such as `8h`; `sweep` ends it then. Empty: for ever.
        strict_ports: Fail if a wanted port is taken, instead of leasing the next free one.
        build: Build images also where their sources have not changed.
        force_recreate: Re-create containers also where nothing has changed.
    """
    folder = Path(path).expanduser()
    wish = Wish(
        source=source_of(folder, _within(folder, files), profiles or (), _within(folder, env_files)),
        name=name,
        wait_timeout_s=wait_timeout_s,
        keep_failed=on_failure == OnFailure.KEEP,
        ttl_s=seconds(ttl, "ttl") if ttl else None,
        strict_ports=strict_ports,
        build=build,
        force_recreate=force_recreate,
    )
    return await cancellable(_up(wish))


async def _up(wish: Wish) -> dict[str, Any]:
    run, status = await bring_up(told_world(), wish, as_task_runs, str(flow_run.id))
    await briefly(publish(status))
    return {**status.model_dump(mode="json"), "changed": sorted(run.ready_s), "flow_run_id": run.flow_run_id}
