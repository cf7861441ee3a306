"""`up`: bring a stack up; it ends with everything ready, or undone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from blocks.stack_source import StackSource
from moorage.errors import DefinitionError
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.up import up as bring_up
from moorage.work.operations.up import up_resolved
from moorage.work.runs.context import Context
from moorage.work.runs.result import Result
from tasks import parameters
from tasks.driver import carried_out
from tasks.parameters import Builder, OnFailure, switch

if TYPE_CHECKING:
    from blocks.dagger_engine import DaggerEngine


def _run_name() -> str:
    given = flow_run.parameters
    return f"up {given.get('name') or given.get('stack') or Path(given.get('path') or '.').name}"


@flow(name="up", flow_run_name=_run_name, persist_result=False, validate_parameters=True)
async def up(
    path: parameters.Directory = "",
    stack: parameters.SourceName = "",
    name: parameters.NewName = "",
    files: parameters.Files = parameters.NOTHING,
    profiles: parameters.Profiles = parameters.NOTHING,
    env: parameters.Variables = None,
    env_files: parameters.EnvFiles = parameters.NOTHING,
    wait_timeout_s: parameters.WaitTimeout = None,
    on_failure: Annotated[OnFailure, switch("After a failure")] = OnFailure.UNDO,
    ttl: parameters.TimeToLive = "",
    builder: Annotated[Builder, switch("Image builder")] = Builder.AUTO,
    strict_ports: Annotated[bool, switch("Only the wanted ports")] = False,
    build: Annotated[bool, switch("Build even if nothing changed")] = False,
    force_recreate: Annotated[bool, switch("Re-create even if nothing changed")] = False,
    dagger: parameters.DaggerName = "",
    registry_credentials: parameters.RegistryName = "",
    services: parameters.Services = parameters.NOTHING,
    no_deps: Annotated[bool, switch("Only the named services")] = False,
    scale: parameters.Scale = parameters.NOTHING,
) -> dict[str, Any] | State[Any]:
    """Bring a stack up: either all services become ready, or everything is undone.

    Args:
        path: Directory of the project, with the compose file, on the worker's machine. Or name a `stack`.
        stack: Name of a Stack Source (see Blocks), used instead of the directory, its files, profiles and variables.
        name: Name of the stack. Empty: derived from the directory or the git worktree.
        files: Compose files, relative to the path. Empty: as `docker compose` finds them.
        profiles: Profiles to enable.
        env: Variables for the compose file. No secrets here, they would be stored in plain text: use a Stack Source.
        env_files: Files with variables, relative to the path. Empty: the project's `.env`.
        wait_timeout_s: Longest time for one service to become ready, in seconds. Empty: as its health check says.
        on_failure: `undo` removes all traces of a failed start, `keep` keeps it for inspection.
        ttl: Time to live of the stack, such as `8h`; after that, `sweep` removes it. Empty: for ever.
        builder: Image builder. `auto`: `MOORAGE_BUILDER`, then `x-moorage.builder`, then Compose.
        strict_ports: Fail if a wanted port is taken, instead of leasing the next free one.
        build: Build images even if their sources have not changed.
        force_recreate: Re-create containers even if nothing has changed.
        dagger: Name of a Dagger Engine (see Blocks) to build with if `builder` is `dagger`. Empty: the worker's.
        registry_credentials: Name of Docker Registry Credentials (see Blocks) for private images. Empty: those of the
            stack source, or else the worker's own login.
        services: Services to bring up, with what they need; the others stay as they are. Empty: all.
        no_deps: Bring up only the named services, not what they need.
        scale: Numbers of replicas, such as `worker=3`, in place of what the definition says; until the next start.
    """
    if bool(path) == bool(stack):
        raise DefinitionError("name either a path or a stack source", key="path", hint="Give one of them, not both.")
    source = await parameters.source_named(stack) if stack else None
    request = source.request() if source else parameters.request_of_path(path, files, profiles, env, env_files)
    asked = {
        "name": name or None,
        "wait_timeout_s": wait_timeout_s,
        "keep_failed": on_failure == OnFailure.KEEP,
        "ttl_s": parameters.ttl_s(ttl) or request.ttl_s,
        "strict_ports": strict_ports or request.strict_ports,
        "builder": None if builder == Builder.AUTO else builder.value,
        "build": build,
        "force_recreate": force_recreate,
        "services": tuple(services),
        "no_deps": no_deps,
        "scale": parameters.replicas(scale),
    }
    engine = await parameters.dagger_named(dagger) if dagger else None
    logins = (
        *await parameters.logins_named(registry_credentials, source),
        *(await engine.logins() if engine else ()),
    )
    wanted = request.model_copy(update=asked)
    return await carried_out(lambda context: _bring_up(context, wanted), _settings(source, engine), logins)


async def _bring_up(context: Context, request: UpRequest) -> Result:
    """Resolve, lease, plan, run each step after what it waits for, commit; or undo."""
    resolved = parameters.resolved_by_caller(request)
    return await (up_resolved(context, resolved) if resolved else bring_up(context, request))


def _settings(source: StackSource | None, engine: DaggerEngine | None) -> dict[str, Any]:
    """What source and engine say of settings."""
    said: dict[str, Any] = engine.settings() if engine else {}
    if source and source.ports:
        said["port_range"] = source.ports.text
    return said
