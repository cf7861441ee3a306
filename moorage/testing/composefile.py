"""Compose files written as JSON, and their canonical form: the part of Compose's rules that tests need."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from moorage.errors import DefinitionError
from moorage.model.definition import FILE_NAMES, Config, Source
from moorage.model.definition import Service as Typed
from moorage.rules import graph
from moorage.rules.reading import read_service

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<braced>\w+)(?:(?P<how>:?[-?])(?P<rest>[^}]*))?\}|(?P<plain>\w+))")
_SERVICE_KEYS = frozenset(
    "image build command entrypoint environment ports volumes networks network_mode depends_on deploy scale profiles "
    "labels healthcheck restart stop_grace_period container_name pull_policy pre_start post_start pre_stop secrets "
    "configs x-moorage init user volumes_from pid ipc".split()
)

_INHERITED = frozenset("image environment labels networks network_mode secrets configs init user".split())
"""What an init container has of its service."""


def read(source: Source) -> Config:
    """The project as written. Raises DefinitionError."""
    path = file_of(source)
    try:
        written = json.loads(path.read_text())
    except FileNotFoundError:
        message = f"{source.directory}: no compose file here"
        raise DefinitionError(message, file=str(path)) from None
    except ValueError as error:
        message = f"{path}: failed to parse: {error}"
        raise DefinitionError(message, file=str(path), hint="The fake Compose reads only JSON.") from None
    config: Config = written
    return config


def file_of(source: Source) -> Path:
    """The compose file of a source: the first one named, else the first existing default file."""
    found = [source.directory / name for name in FILE_NAMES if (source.directory / name).is_file()]
    return [*source.files, *found, source.directory / FILE_NAMES[0]][0]


def interpolated(value: Any, variables: Mapping[str, str], *, escape: bool) -> Any:
    """`value` with its variables replaced in all its texts; `escape`: what has a `$` then has `$$`, as in `config`."""
    if isinstance(value, dict):
        return {key: interpolated(one, variables, escape=escape) for key, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one, variables, escape=escape) for one in value]
    return _replaced(value, variables, escape=escape) if isinstance(value, str) else value


def _replaced(text: str, variables: Mapping[str, str], *, escape: bool) -> str:
    def replace(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$$" if escape else "$"
        name, how = found["braced"] or found["plain"], found["how"] or ""
        value = variables.get(name)
        missing = value is None or (how.startswith(":") and not value)
        if missing and how.endswith("?"):
            message = f"required variable {name} is missing a value: {found['rest']}"
            raise DefinitionError(message, hint="Set the variable in the environment, in .env, or with --env-file.")
        text = (found["rest"] if how else "") if missing else value
        return (text or "").replace("$", "$$") if escape else text or ""

    return _VARIABLE.sub(replace, text)


def canonical(written: Config, name: str, source: Source) -> Config:
    """The interpolated project in the form that Compose prints. Raises DefinitionError."""
    chosen = {key: s for key, s in (written.get("services") or {}).items() if _is_chosen(s, source.profiles)}
    services = {key: _service(key, service or {}, source.directory) for key, service in sorted(chosen.items())}
    config = {key: value for key, value in written.items() if key.startswith("x-")} | {"name": name}
    config["services"] = services
    used = {network for service in services.values() for network in service.get("networks") or {}}
    networks = {**({"default": None} if "default" in used else {}), **(written.get("networks") or {})}
    for kind, things in (("networks", networks), ("volumes", written.get("volumes") or {})):
        if things:
            extra: Config = {"ipam": {}} if kind == "networks" else {}
            config[kind] = {key: {"name": f"{name}_{key}", **extra, **(thing or {})} for key, thing in things.items()}
    for kind in ("secrets", "configs"):
        if written.get(kind):
            config[kind] = written[kind]
    _check(config)
    return config


def _is_chosen(service: Config | None, profiles: Iterable[str]) -> bool:
    own = (service or {}).get("profiles") or ()
    return not own or bool(set(own) & set(profiles)) or "*" in profiles


def _service(name: str, written: Config, directory: Path) -> Config:
    for key in written:
        if key not in _SERVICE_KEYS:
            message = f"services.{name}.{key}: the fake Compose does not support this key"
            raise DefinitionError(message, service=name, key=f"services.{name}.{key}")
    if not written.get("image") and not written.get("build"):
        message = f'service "{name}" has neither an image nor a build context specified'
        raise DefinitionError(message, service=name)
    service = {"command": None, "entrypoint": None, **{k: v for k, v in written.items() if k != "x-moorage"}}
    if "build" in service:
        service["build"] = _build(service["build"], directory)
    service |= {key: _pairs(service[key]) for key in ("environment", "labels") if key in service}
    if "ports" in service:
        service["ports"] = [_port(port) for port in service["ports"]]
    if "volumes" in service:
        service["volumes"] = [_mount(mount, directory) for mount in service["volumes"]]
    implied = _implied(service)
    if "depends_on" in service or implied:
        service["depends_on"] = implied | _dependencies(service.get("depends_on") or {})
    if "deploy" in service:
        service["deploy"] = {"resources": {}, "placement": {}, **service["deploy"]}
    if "pre_start" in service:
        own = {key: value for key, value in service.items() if key in _INHERITED}
        hooks = ({**hook, "command": _words(hook.get("command"))} for hook in service["pre_start"])
        service["pre_start"] = [{**own, **hook} for hook in hooks]
    if not service.get("network_mode"):
        named = service.get("networks") or {"default": None}
        service["networks"] = named if isinstance(named, dict) else dict.fromkeys(named)
    return service


def _words(written: Any) -> Any:
    return shlex.split(written) if isinstance(written, str) else written


def _build(written: Any, directory: Path) -> Config:
    build = {"context": written} if isinstance(written, str) else dict(written)
    dockerfile = {} if "dockerfile_inline" in build else {"dockerfile": build.get("dockerfile", "Dockerfile")}
    return {**build, **dockerfile, "context": str((directory / build.get("context", ".")).resolve())}


def _pairs(written: Any) -> dict[str, str | None]:
    """`["A=1"]` and `{"A": 1}` → `{"A": "1"}`."""
    if isinstance(written, list):
        return {key: value if sign else None for key, sign, value in (one.partition("=") for one in written)}
    return {key: None if value is None else str(value) for key, value in written.items()}


def _port(written: Any) -> Config:
    """`127.0.0.1:8000:80/udp` → the long form."""
    if isinstance(written, dict):
        return {"mode": "ingress", "protocol": "tcp", **written}
    text, _, protocol = str(written).partition("/")
    *rest, target = text.split(":")
    long: Config = {"mode": "ingress", "target": int(target), "protocol": protocol or "tcp"}
    if len(rest) > 1:
        long["host_ip"] = ":".join(rest[:-1]).strip("[]")
    return {**long, "published": rest[-1]} if rest else long


def _mount(written: Any, directory: Path) -> Config:
    """`data:/data` → the long form."""
    if isinstance(written, dict):
        return {**written, "volume": {}} if written.get("type") == "volume" and "volume" not in written else written
    source, _, target = written.rpartition(":")
    if source.startswith((".", "/")):
        return {"type": "bind", "source": str((directory / source).resolve()), "target": target, "bind": {}}
    return {"type": "volume", **({"source": source} if source else {}), "target": target, "volume": {}}


def _dependencies(written: Any) -> Config:
    entries = dict.fromkeys(written) if isinstance(written, list) else written
    return {key: {"condition": "service_started", "required": True, **(value or {})} for key, value in entries.items()}


def _implied(service: Config) -> Config:
    """Dependencies that Compose adds for what a service shares with others."""
    modes = (str(service.get(key) or "").partition(":") for key in ("network_mode", "ipc", "pid"))
    implied = {
        other: {"condition": "service_started", "restart": True, "required": True}
        for k, _, other in modes
        if k == "service"
    }
    for one in service.get("volumes_from") or ():
        implied.setdefault(one.partition(":")[0], {"condition": "service_started", "required": True})
    return implied


def _check(config: Config) -> None:
    """Refuse references to missing things. Raises DefinitionError."""
    for name, service in config["services"].items():
        networks, volumes = config.get("networks") or {}, config.get("volumes") or {}
        needed = [key for key, value in (service.get("depends_on") or {}).items() if value["required"]]
        mounted = [m["source"] for m in service.get("volumes") or () if m["type"] == "volume" and "source" in m]
        if strangers := [key for key in needed if key not in config["services"]]:
            where = f"services.{name}.depends_on"
            raise DefinitionError(f'{where}: no service "{strangers[0]}"', service=name, key=where)
        missing = [
            *(f"refers to undefined network {key}" for key in service.get("networks") or () if key not in networks),
            *(f"refers to undefined volume {key}" for key in mounted if key not in volumes),
        ]
        if missing:
            raise DefinitionError(f'service "{name}" {missing[0]}: invalid compose project', service=name)
    graph.order(typed(config))


def typed(config: Config) -> dict[str, Typed]:
    """The services of a canonical project, as models."""
    return {name: read_service(name, service, config, {}) for name, service in config["services"].items()}
