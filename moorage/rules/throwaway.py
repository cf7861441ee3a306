"""Throw-away stacks in Dagger: which keys are supported, and the services to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from moorage.errors import UnsupportedByBackendError
from moorage.model.definition import Check, Config, Definition, InjectedFile, Service
from moorage.model.sandbox import SandboxHealth, SandboxService
from moorage.rules import building, graph
from moorage.rules.durations import seconds
from moorage.rules.reading import unescaped

_HONOURED = frozenset(
    {
        *("build", "command", "configs", "depends_on", "entrypoint", "environment", "expose", "healthcheck"),
        *("hostname", "image", "init", "networks", "ports", "scale", "secrets", "stop_grace_period", "tmpfs", "user"),
        *("volumes", "working_dir", "x-moorage"),
    }
)
_NEEDLESS = frozenset(
    {
        *(
            "annotations",
            "attach",
            "cap_drop",
            "container_name",
            "develop",
            "env_file",
            "label_file",
            "labels",
            "logging",
        ),
        *("profiles", "pull_policy", "read_only", "restart", "security_opt", "stop_signal", "stdin_open", "tty"),
    }
)
"""Ignored without harm to a test: these keys restrict, describe, or matter only beyond one session."""
_WHY = {
    "network_mode": "each service has a network of its own",
    "deploy": "there are no limits and no replicas",
    "cap_add": "services have the sandbox's own capabilities",
    "privileged": "services run in its sandbox",
    "pid": "services run in its sandbox",
    "ipc": "services run in its sandbox",
    "devices": "there are no devices of this machine",
    "post_start": "nothing can be run inside a service",
    "pre_stop": "nothing can be run inside a service",
    "shm_size": "there are no limits",
    "mem_limit": "there are no limits",
    "cpus": "there are no limits",
    "ulimits": "there are no limits",
}
_NO_ANSWER = "its API has no equivalent"
_BACKEND = "dagger"


def services_of(definition: Definition) -> tuple[SandboxService, ...]:
    """The services for Dagger to run, in dependency order.

    Raises UnsupportedByBackendError that names the first unsupported key; nothing is ignored that a test could rely on.
    """
    config = unescaped(definition.config)
    for name, wrong, why in _refused(definition, config):
        raise _refusal(f"services.{name}.{wrong}", name, why)
    for kind in ("volumes", "networks"):
        for key, thing in (config.get(kind) or {}).items():
            if thing and thing.get("external"):
                raise _refusal(f"{kind}.{key}.external", None, f"{kind} that outlive the session are not available")
    order = [name for name in graph.order(definition.services) if definition.services[name].replicas]
    return tuple(_service(definition, config["services"][name], name) for name in order)


def notices(definition: Definition, *, exposed: bool) -> tuple[str, ...]:
    """What is not quite as on Docker. `exposed`: the ports are open to the network."""
    return tuple(_notices(definition, exposed))


def _notices(definition: Definition, exposed: bool) -> Iterator[str]:
    if exposed and any(service.ports for service in definition.services.values()):
        yield "published ports are open on every address of this machine (0.0.0.0), as `expose` allows"
    for name, service in definition.config["services"].items():
        if service.get("stop_signal") not in (None, "SIGTERM", "TERM", "15"):
            yield f"services.{name}.stop_signal: Dagger sends SIGTERM, not {service['stop_signal']}"


def _refusal(key: str, service: str | None, why: str) -> UnsupportedByBackendError:
    return building.unsupported(_BACKEND, key, service, why)


def _refused(definition: Definition, config: Config) -> Iterator[tuple[str, str, str]]:
    """(service, key, reason) of all unsupported keys."""
    for name, service in config["services"].items():
        for key, value in service.items():
            if key not in _HONOURED | _NEEDLESS and value not in (None, False, {}, [], ""):
                yield name, key, _WHY.get(key, _NO_ANSWER)
        typed = definition.services[name]
        if typed.replicas > 1:
            yield name, "scale", "a service is one container"
        yield from ((name, key, why) for key, why in _ports_and_checks(typed))
        yield from ((name, key, why) for key, why in _mounts(service))
        for network, how in (service.get("networks") or {}).items():
            if set(how or {}) - {"aliases"}:
                yield name, f"networks.{network}", "Dagger chooses addresses and priorities"


def _ports_and_checks(service: Service) -> Iterator[tuple[str, str]]:
    for port in service.ports:
        if port.protocol != "tcp":
            yield "ports", f"tunnels carry TCP, not {port.protocol}"
        if port.host_ip not in (None, "127.0.0.1"):
            yield "ports", "tunnels end at the loopback address"
    check = service.ready
    if check and check.check == Check.HTTP and not any(check.port in (None, port.target) for port in service.ports):
        yield "x-moorage.ready.http", "only published ports can be asked: publish it"
    if service.address_kept:
        yield "x-moorage.address", "Dagger chooses addresses"
    if service.ready and service.ready.check in (Check.EXEC, Check.LOG):
        yield f"x-moorage.ready.{service.ready.check}", "nothing can be run in a service, and its log cannot be read"


def _mounts(service: Config) -> Iterator[tuple[str, str]]:
    for mount in service.get("volumes") or ():
        kind = mount.get("type")
        if kind == "bind" and not mount.get("read_only"):
            yield f"volumes.{mount.get('target')}", "changes would not be written back: mount it read-only"
        if kind not in ("bind", "volume", "tmpfs"):
            yield f"volumes.{mount.get('target')}", f"a mount of type {kind}"


def _service(definition: Definition, service: Config, name: str) -> SandboxService:
    typed = definition.services[name]
    mounts = service.get("volumes") or ()
    networks = service.get("networks") or {}
    from_host = [*_files(unescaped(definition.config), service)]
    return SandboxService(
        name=name,
        image=None if typed.builds else typed.image,
        command=tuple(service.get("command") or ()),
        entrypoint=None if service.get("entrypoint") is None else tuple(service["entrypoint"]),
        environment={key: str(value) for key, value in (service.get("environment") or {}).items() if value is not None},
        user=str(service.get("user") or ""),
        workdir=str(service.get("working_dir") or ""),
        init=bool(service.get("init")),
        hostname=str(service.get("hostname") or name),
        exposed=tuple(sorted({port.target for port in typed.ports} | set(_exposed(service)))),
        asked=tuple(sorted({port.target for port in typed.ports} | _asked(typed))),
        health=_health(service.get("healthcheck") or {}, f"services.{name}.healthcheck"),
        scratch=(
            *(str(path).partition(":")[0] for path in service.get("tmpfs") or ()),
            *(str(mount["target"]) for mount in mounts if mount["type"] == "tmpfs"),
        ),
        volumes=tuple(str(mount["target"]) for mount in mounts if mount["type"] == "volume"),
        copies={str(mount["target"]): str(mount["source"]) for mount in mounts if mount["type"] == "bind"},
        files=(*typed.inject, *(file for file, _ in from_host)),
        sources={file.target: source for file, source in from_host},
        aliases=tuple(sorted({one for how in networks.values() for one in (how or {}).get("aliases") or ()})),
        needs=graph.dependencies(definition.services, name),
        one_shot=graph.is_one_shot(definition.services, name),
    )


def _asked(service: Service) -> set[int]:
    """The port of `x-moorage.ready.tcp`, which need not be published."""
    check = service.ready
    return {check.port} if check and check.check == Check.TCP and check.port else set()


def _health(found: Config, where: str) -> SandboxHealth | None:
    if not found:
        return None
    test = found.get("test") or ()
    if found.get("disable") or list(test) == ["NONE"]:
        return SandboxHealth(off=True)
    keys = ("interval", "timeout", "start_period", "start_interval")
    times = {f"{key}_s": seconds(found[key], f"{where}.{key}") for key in keys if found.get(key)}
    command = {"args": test[1:], "shell": list(test[:1]) == ["CMD-SHELL"], "retries": found.get("retries")}
    return SandboxHealth.model_validate({**command, **times})


def _exposed(service: Config) -> Iterator[int]:
    for port in service.get("expose") or ():
        first, _, last = str(port).partition("/")[0].partition("-")
        yield from range(int(first), int(last or first) + 1)


def _files(config: Config, service: Config) -> Iterator[tuple[InjectedFile, str]]:
    """Secrets and configs that are files on this machine, each with its file; the content is not read yet."""
    for kind, folder in (("secrets", "/run/secrets"), ("configs", "/")):
        for use in service.get(kind) or ():
            thing = (config.get(kind) or {}).get(use["source"]) or {}
            if "file" in thing:
                target = str(use.get("target") or use["source"])
                place = target if target.startswith("/") else str(PurePosixPath(folder) / target)
                mode = int(str(use.get("mode", "0444")), 8)
                file = InjectedFile(target=place, content="", mode=mode, secret=kind == "secrets")
                yield file, str(thing["file"])


def bindings(service: SandboxService, all_: Mapping[str, SandboxService]) -> dict[str, str]:
    """Name → service, of all services that a service is bound to: its direct and indirect dependencies."""
    found: dict[str, str] = {}
    waiting = list(service.needs)
    while waiting:
        other = all_.get(waiting.pop())
        if other and other.name not in found.values() and not other.one_shot:
            found |= dict.fromkeys((other.name, other.hostname, *other.aliases), other.name)
            waiting += other.needs
        elif other and other.one_shot:
            waiting += [name for name in other.needs if name not in found.values()]
    return found
