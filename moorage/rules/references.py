"""What refers to a container by its name, of a service whose containers get other names here.

A `container_name` is dropped, because it is unique on the machine and a stack is not, and a stack may have another name
than its file says. So `container:NAME` becomes `service:SERVICE` where NAME is a service of the same file: that finds
the container of this stack, and says in which order they start, as it would have been written in the first place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    for key, service in services.items():
        others = {name: of for name, of in names.items() if of != key}
        wanted = _follow_links(service, others)
        for one in (*(service.get("pre_start") or ()), service):
            wanted |= {**_follow_volumes(one, others), **_follow_namespaces(one, others)}
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
