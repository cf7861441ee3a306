"""`build`: build or pull the images of a stack, so that its next start does not wait for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run

from moorage.errors import DefinitionError
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.build import build as make_images
from moorage.work.runs.context import Context
from tasks import parameters
from tasks.driver import carried_out
from tasks.parameters import Builder, switch


def _run_name() -> str:
    given = flow_run.parameters
    return f"build {given.get('stack') or Path(given.get('path') or '.').name}"


@flow(name="build", flow_run_name=_run_name, persist_result=False)
async def build(
    path: parameters.Directory = "",
    stack: parameters.SourceName = "",
    files: parameters.Files = parameters.NOTHING,
    profiles: parameters.Profiles = parameters.NOTHING,
    env: parameters.Variables = None,
    env_files: parameters.EnvFiles = parameters.NOTHING,
    builder: Annotated[Builder, switch("Image builder")] = Builder.AUTO,
    again: Annotated[bool, switch("Build even if nothing changed")] = False,
    registry_credentials: parameters.RegistryName = "",
) -> dict[str, Any] | State[Any]:
    """Build or pull the images of a stack. Running containers are not touched; the next `up` uses the images.

    Args:
        path: Directory of the project, on the worker's machine. Or name a `stack`.
        stack: Name of a Stack Source (see Blocks), used instead of the directory, its files, profiles and variables.
        files: Compose files, relative to the path. Empty: as `docker compose` finds them.
        profiles: Profiles to enable.
        env: Variables for the compose file. No secrets here, they would be stored in plain text: use a Stack Source.
        env_files: Files with variables, relative to the path. Empty: the project's `.env`.
        builder: Image builder. `auto`: `MOORAGE_BUILDER`, then `x-moorage.builder`, then Compose.
        again: Build images even if their sources have not changed.
        registry_credentials: Name of Docker Registry Credentials (see Blocks) for private images. Empty: those of the
            stack source, or else the worker's own login.
    """
    if bool(path) == bool(stack):
        raise DefinitionError("name either a path or a stack source", key="path", hint="Give one of them, not both.")
    source = await parameters.source_named(stack) if stack else None
    request = source.request() if source else parameters.request_of_path(path, files, profiles, env, env_files)
    asked = {"build": again, "builder": None if builder == Builder.AUTO else builder.value}
    logins = await parameters.logins_named(registry_credentials, source)
    wanted = request.model_copy(update=asked)
    return await carried_out(lambda context: _build(context, wanted), logins=logins)


async def _build(context: Context, request: UpRequest) -> dict[str, Any]:
    stack, made = await make_images(context, request)
    return {"stack": stack, "made": made, "flow_run_id": context.flow_run_id}
