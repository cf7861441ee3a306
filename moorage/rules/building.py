"""Choice of the image builder, and what builders support of a `build` section."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from moorage.errors import UnsupportedByBackendError
from moorage.model.definition import Config, Definition
from moorage.model.image import BuilderName, BuildSecret, BuildSpec, ImageWish

_DAGGER_KEYS = frozenset(
    {"context", "dockerfile", "dockerfile_inline", "args", "labels", "target", "secrets", "ssh", "platforms", "tags"}
)
"""Keys of `build` that `Directory.dockerBuild` of Dagger's API supports (engine 0.21)."""


def chosen(flag: str | None, setting: str, written: str | None) -> BuilderName:
    """The builder: the first of flag, setting and `x-moorage.builder` that is not `auto`; else Compose."""
    asked = (name for name in (flag, setting, written) if name and name != BuilderName.AUTO)
    return BuilderName(next(asked, BuilderName.COMPOSE))


def refuse_unhonoured(spec: BuildSpec, backend: BuilderName) -> None:
    """Raise UnsupportedByBackendError for keys that the backend would have to ignore."""
    if backend == BuilderName.DAGGER:
        for key, why in _unhonoured(spec.build):
            raise unsupported(backend, f"services.{spec.service}.build.{key}", spec.service, why)


def unsupported(backend: str, key: str, service: str | None, why: str) -> UnsupportedByBackendError:
    """The error for a key that a backend does not support."""
    return UnsupportedByBackendError(
        f"{key}: {backend} does not support it: {why}",
        backend=str(backend),
        key=key,
        service=service,
        hint="Build with Compose (`--builder compose`), or remove the key."
        if ".build" in key
        else "`moorage ci` without --engine runs it on the Docker engine.",
    )


def _unhonoured(build: Config) -> Iterable[tuple[str, str]]:
    """(key, reason) of each key that Dagger's `dockerBuild` has no argument for."""
    for key, value in build.items():
        if key not in _DAGGER_KEYS and value not in (None, False, {}, [], "", "default"):
            yield key, "its API has no such argument"
    if not PurePosixPath(str(build.get("context", "."))).is_absolute():
        yield "context", "it must be a directory on this machine"
    if len(build.get("platforms") or ()) > 1:
        yield "platforms", "only one image is loaded into the engine, so only one platform"
    if any(entry != "default" for entry in build.get("ssh") or ()):
        yield "ssh", "only the agent at SSH_AUTH_SOCK (`default`)"
    for use in build.get("secrets") or ():
        if {"uid", "gid", "mode"} & set(use):
            yield "secrets", "owner and mode of a build secret are set in the Dockerfile"


def arguments(build: Config) -> dict[str, str]:
    """Build arguments by name; one without a value gets the Dockerfile's default, as with Compose."""
    args = build.get("args") or {}
    pairs: Iterable[tuple[str, Any]] = (
        args.items() if isinstance(args, Mapping) else (str(one).partition("=")[::2] for one in args)
    )
    return {str(key): str(value) for key, value in pairs if value is not None}


def with_wish(definition: Definition, wish: ImageWish) -> Definition:
    """The definition with what is asked for on top of it in its `build` sections."""
    asked = {**({"no_cache": True} if wish.no_cache else {}), **({"pull": True} if wish.newer_bases else {})}
    if not asked and not wish.arguments:
        return definition
    services = {}
    for name, service in definition.config["services"].items():
        if build := service.get("build"):
            given = {key: value.replace("$", "$$") for key, value in wish.arguments}
            build = {**build, **asked, "args": {**arguments(build), **given}}
            services[name] = {**service, "build": build}
        else:
            services[name] = service
    config = {**definition.config, "services": services}
    whole = with_wish(definition.whole, wish) if definition.whole else None
    return definition.model_copy(update={"config": config, "whole": whole})


def secrets(service: str, build: Config, config: Config, variable: Callable[[str], str | None]) -> list[BuildSecret]:
    """The secrets of a `build` section; `variable` gives the value of an environment variable, None where unset.

    Raises UnsupportedByBackendError for an external one, which only Swarm has.
    """
    found = []
    for use in build.get("secrets") or ():
        source = str(use["source"])
        thing = (config.get("secrets") or {}).get(source) or {}
        name = str(use.get("target") or source)
        where = f"services.{service}.build.secrets.{source}"
        if "file" in thing:
            found.append(BuildSecret(id=name, kind="file", text=str(thing["file"])))
        elif "content" in thing:
            found.append(BuildSecret(id=name, kind="value", text=str(thing["content"])))
        elif (value := variable(str(thing.get("environment", "")))) is not None:
            found.append(BuildSecret(id=name, kind="value", text=value))
        else:
            raise unsupported(BuilderName.DAGGER, where, service, "it has neither a file nor a value")
    return found
