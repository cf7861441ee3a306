"""Parameters of flows: titles and limits for the UI's forms. Their help texts are in the docstrings of the flows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from blocks.stack_source import DURATION, StackSource
from moorage.errors import DefinitionError
from moorage.hub.outcome import CALLER
from moorage.hub.registry_login import login_of
from moorage.model.image import RegistryLogin
from moorage.rules.disk import SIZE
from moorage.rules.durations import seconds
from moorage.rules.part import numbers_of
from moorage.show.secret_names import looks_secret
from moorage.work.definitions.request import UpRequest, source_of
from moorage.work.definitions.resolve import Resolved

if TYPE_CHECKING:
    from blocks.dagger_engine import DaggerEngine

_DAY_S = 86_400
_NAME = "[a-z0-9][a-z0-9_-]{0,47}"
_SERVICE = r"^[a-zA-Z0-9._-]+$"
_REPLICAS = r"^[a-zA-Z0-9._-]+=[0-9]{1,4}$"


def _titled(title: str, **bounds: Any) -> Any:
    # Prefect would overwrite `title=` with the parameter's name.
    return Field(json_schema_extra={"title": title}, **bounds)


# Optional text is an empty string: for `str | None` the form shows a switch, which is off at first. It comes after the
# pattern, which the form would not get otherwise.
_NONE_IS_EMPTY = BeforeValidator(lambda given: "" if given is None else given)
_NONE_IS_NO_LIST = BeforeValidator(lambda given: [] if given is None else given)

StackName = Annotated[str, _titled("Stack", pattern=f"^{_NAME}$")]
SomeStack = Annotated[str, _titled("Stack", pattern=f"^({_NAME})?$"), _NONE_IS_EMPTY]
NewName = Annotated[str, _titled("Name of the stack", pattern=f"^({_NAME})?$"), _NONE_IS_EMPTY]
Directory = Annotated[str, _titled("Directory", max_length=4096), _NONE_IS_EMPTY]  # as long as a path may be
SourceName = Annotated[str, _titled("Stack source", pattern=r"^[a-z0-9-]*$"), _NONE_IS_EMPTY]
DaggerName = Annotated[str, _titled("Dagger engine", pattern=r"^[a-z0-9-]*$"), _NONE_IS_EMPTY]
RegistryName = Annotated[str, _titled("Registry credentials", pattern=r"^[a-z0-9-]*$"), _NONE_IS_EMPTY]
Files = Annotated[list[str], _titled("Compose files", max_length=50), _NONE_IS_NO_LIST]
Profiles = Annotated[list[str], _titled("Profiles", max_length=50), _NONE_IS_NO_LIST]
Variables = Annotated[dict[str, str] | None, _titled("Variables", max_length=500)]
EnvFiles = Annotated[list[str], _titled("Files with variables", max_length=50), _NONE_IS_NO_LIST]
Services = Annotated[list[Annotated[str, Field(pattern=_SERVICE)]], _titled("Services"), _NONE_IS_NO_LIST]
Scale = Annotated[list[Annotated[str, Field(pattern=_REPLICAS)]], _titled("Replicas"), _NONE_IS_NO_LIST]
Directories = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=4096)]],
    _titled("Directories", max_length=1000),
    _NONE_IS_NO_LIST,
]
SourceNames = Annotated[
    list[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]], _titled("Stack sources", max_length=1000), _NONE_IS_NO_LIST
]
AtOnce = Annotated[int | None, _titled("At once", ge=1, le=1000)]
NOTHING: list[str] = []
"""Default value for lists; must not be modified."""
WaitTimeout = Annotated[float | None, _titled("Longest wait for a service (s)", gt=0, le=_DAY_S)]
Grace = Annotated[float | None, _titled("Grace period (s)", ge=0, le=3600)]
TimeToLive = Annotated[str, _titled("Time to live", pattern=f"{DURATION}|^$"), _NONE_IS_EMPTY]
DiskSize = Annotated[str, _titled("Disk for built images", pattern=f"^({SIZE})?$"), _NONE_IS_EMPTY]
Number = Annotated[int | None, _titled("Generation", ge=1)]


def switch(title: str) -> Any:
    """The title of a yes-or-no parameter."""
    return _titled(title)


class OnFailure(StrEnum):
    """What to do after a failed start."""

    UNDO = "undo"
    KEEP = "keep"


class Builder(StrEnum):
    """Image builders."""

    AUTO = "auto"
    COMPOSE = "compose"
    DAGGER = "dagger"


def request_of_path(path: str, files: Files, profiles: Profiles, env: Variables, env_files: EnvFiles) -> UpRequest:
    """The request for a directory, from the form's values. Raises DefinitionError."""
    for name in env or ():
        if looks_secret(name):
            message = f"env.{name}: this looks like a secret, but parameters of runs are stored in plain text"
            hint = "Put it into a Stack Source (`secrets`) and name that as `stack`, or into a file in `env_files`."
            raise DefinitionError(message, key=f"env.{name}", hint=hint)
    folder = Path(path).expanduser()
    source = source_of(folder, _within(folder, files), profiles or (), _within(folder, env_files))
    return UpRequest(source=source.model_copy(update={"environment": tuple((env or {}).items())}))


def resolved_by_caller(request: UpRequest) -> Resolved | None:
    """The definition, if the command that runs this flow has read it for the same request. None: read it."""
    caller = CALLER.get()
    resolved = caller.resolved if caller else None
    named = request if request.name or resolved is None else request.model_copy(update={"name": resolved.name})
    return resolved if resolved and resolved.request == named else None


def _within(folder: Path, files: list[str] | None) -> list[str]:
    return [str(folder / file) for file in files or ()]


async def source_named(name: str) -> StackSource:
    """The Block of that name. Raises DefinitionError."""
    try:
        found = await StackSource.aload(name)
    except ValueError as error:
        message = f"stack: there is no Stack Source {name!r} on the hub"
        raise DefinitionError(
            message, key="stack", hint="Create it in the UI: Blocks, Moorage Stack Source."
        ) from error
    return found


async def logins_named(name: str, source: StackSource | None) -> tuple[RegistryLogin, ...]:
    """Registry logins from the Block of that name, else from the source's. Raises DefinitionError."""
    chosen = name or (source.registry_credentials if source else None)
    return (await login_of(chosen),) if chosen else ()


async def dagger_named(name: str) -> DaggerEngine:
    """The Block of that name. Raises DefinitionError."""
    from blocks.dagger_engine import DaggerEngine  # imports prefect-docker, which would cost each start 0.2 s

    try:
        found = await DaggerEngine.aload(name)
    except ValueError as error:
        message = f"dagger: there is no Dagger Engine {name!r} on the hub"
        hint = "Create it in the UI: Blocks, Moorage Dagger Engine."
        raise DefinitionError(message, key="dagger", hint=hint) from error
    return found


def replicas(scale: list[str]) -> dict[str, int]:
    """Service → number of replicas, of `SERVICE=NUMBER`. Raises DefinitionError."""
    return numbers_of(scale, "scale")


def ttl_s(ttl: str) -> float | None:
    """Time to live in seconds. None: for ever."""
    return seconds(ttl, "ttl") if ttl else None
