"""What refers to a container by its name, of a service whose containers get other names here.

A `container_name` is dropped, because it is unique on the machine and a stack is not, and a stack may have another name
than its file says. So `container:NAME` becomes `service:SERVICE` where NAME is a service of the same file: that finds
the container of this stack, and says in which order they start, as it would have been written in the first place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from moorage.errors import DefinitionError
from moorage.model.definition import Config

_NAMESPACES = ("network_mode", "pid", "ipc")
_CONTAINER = "container:"


def follow(config: Config, projects: Iterable[str]) -> None:
    """Let references to containers of this project name their service.

    `projects`: the names that the project goes by, as Compose derives container names from them. References to
    containers of others stay as they are.
    """
    services = config.get("services") or {}
    names = _names(services, projects)
    own: dict[str, list[str]] = {}
    for name, key in names.items():
        own.setdefault(key, []).append(name)
    for key, service in services.items():
        hidden = {name: names.pop(name) for name in own.get(key, ())}  # a service does not refer to itself
        wanted = _follow_links(service, names)
        for one in (*(service.get("pre_start") or ()), service):
            wanted |= {**_follow_volumes(one, names), **_follow_namespaces(one, names)}
        names |= hidden
        if wanted:
            service["depends_on"] = {**wanted, **(service.get("depends_on") or {})}


def _names(services: Config, projects: Iterable[str]) -> dict[str, str]:
    """Name of a container → its service."""
    derived = {f"{project}-{key}-1": key for project in projects for key in services}
    return derived | {one["container_name"]: key for key, one in services.items() if one.get("container_name")}


def _follow_namespaces(service: Config, names: Mapping[str, str]) -> Config:
    """Gives the services to start after, as Compose does it for `service:`; so do the others."""
    wanted = {}
    for key in _NAMESPACES:
        value = str(service.get(key) or "")
        if value.startswith(_CONTAINER) and (other := names.get(value.removeprefix(_CONTAINER))):
            service[key] = f"service:{other}"
            wanted[other] = _started(restart=True)
    return wanted


def _follow_volumes(service: Config, names: Mapping[str, str]) -> Config:
    """`container:NAME:ro` → `SERVICE:ro`."""
    wanted, sources = {}, []
    for one in map(str, service.pop("volumes_from", None) or ()):
        name, colon, mode = one.removeprefix(_CONTAINER).partition(":")
        other = names.get(name) if one.startswith(_CONTAINER) else None
        sources.append(f"{other}{colon}{mode}" if other else one)
        if other:
            wanted[other] = _started(restart=False)
    if sources:
        service["volumes_from"] = sources
    return wanted


def _follow_links(service: Config, names: Mapping[str, str]) -> Config:
    """`external_links: [NAME:ALIAS]` → `links: [SERVICE:ALIAS]`; without an alias, the name goes on being one."""
    outside, inside, wanted = [], [], {}
    for one in map(str, service.pop("external_links", None) or ()):
        name, _, alias = one.partition(":")
        if name in names:
            inside.append(f"{names[name]}:{alias or name}")
            wanted[names[name]] = _started(restart=True)
        else:
            outside.append(one)
    if outside:
        service["external_links"] = outside
    if inside:
        service["links"] = [*(service.get("links") or ()), *inside]
    return wanted


def _started(*, restart: bool) -> Config:
    return {"condition": "service_started", "restart": restart, "required": True}


def check_declared(where: str, init_container: Config, config: Config) -> None:
    """Raise DefinitionError for what an init container uses and the project does not have.

    Compose looks at services only, and leaves out of the project what none of them uses: an init container would get
    an empty directory for its volume, and nothing for its secret.
    """
    for kind, names in _used(init_container):
        known = config.get(kind) or {}
        absent = next((name for name in names if name not in known and name != "default"), None)
        if absent is not None:  # the default network Compose adds itself
            key = f"services.{where}.{kind}"
            message = f"{key}: no service uses {absent!r}, and Compose leaves out what only an init container uses"
            hint = f"Declare it under `{kind}` if it is not there, and give it to the service too."
            raise DefinitionError(message, key=key, service=where.partition(".pre_start")[0], hint=hint)


def _used(container: Config) -> Iterator[tuple[str, list[str]]]:
    yield "networks", list(container.get("networks") or ())
    mounts = container.get("volumes") or ()
    yield "volumes", [one["source"] for one in mounts if one.get("type") == "volume" and one.get("source")]
    for kind in ("secrets", "configs"):
        yield kind, [str(one.get("source") or "") for one in container.get(kind) or ()]
