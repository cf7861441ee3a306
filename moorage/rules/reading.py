"""Reads a canonical Compose project into the models that Moorage works with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moorage.errors import DefinitionError
from moorage.model.definition import (
    Check,
    Condition,
    Config,
    Definition,
    Dependency,
    Hook,
    InitContainer,
    ReadyCheck,
    Service,
    Source,
)
from moorage.model.image import BuilderName
from moorage.rules import attachments, keys, published, reach, references
from moorage.rules.durations import seconds
from moorage.rules.injecting import injected
from moorage.rules.patterns import line_pattern
from moorage.rules.values import refuse_impossible
from moorage.rules.variables import address_variables, port_variables

_PULL_POLICIES = frozenset({"missing", "if_not_present", "refresh", "always", "never", "build"})
_ALSO_MISSING = frozenset({"if_not_present", "refresh"})
"""Compose's schema has `refresh` too, and reads it so."""
_PULL_TIMES = {"daily": 86_400.0, "weekly": 604_800.0}
_PULL_EVERY = re.compile(r"every_(?:\d+[wdhms])+", re.ASCII)
_REFERENCE = re.compile(
    # The grammar of distribution/reference, which Docker and its registries use.
    r"(?=.{1,512}$)(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[a-fA-F0-9:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
_STACK_KEYS = frozenset({"ttl", "builder", "approve", "heal", "secret_files", "dagger"})
_SERVICE_KEYS = frozenset({"address", "ready", "probe"})
_REPLICAS = range(10_001)
"""A network of an engine has addresses for a tenth of them."""
_READY_KEYS = frozenset({"http", "tcp", "log", "exec", "exit", "timeout"})


def read_definition(
    config: Config,
    raw: Config,
    extensions: Mapping[str, Config],
    values: Mapping[str, str],
    source: Source,
    real: reach.Real = reach.as_written,
    ignored: Sequence[str] = (),
) -> Definition:
    """The typed definition of a canonical project.

    `raw` is the project before interpolation, `extensions` the interpolated `x-moorage` of each service, `values`
    those of secrets and configs that come from the environment, by `secrets.key`, `real` follows links, `ignored` are
    keys that Compose says to ignore, `services.web.deploy.mode: …`. Raises DefinitionError, UnsupportedKeyError.
    """
    keys.refuse_unsupported(config)
    refuse_impossible(config)
    options = _stack_options(config)
    secret_files(config)
    services = {
        name: read_service(name, {**service, "x-moorage": extensions.get(name) or {}}, config, values)
        for name, service in config.get("services", {}).items()
    }
    if not services:
        message = f"{source.directory}: the definition has no service"
        raise DefinitionError(message, hint="If all services are in profiles, enable one with --profile.")
    return Definition(
        source=source,
        name=config["name"],
        config=_with_extensions(config, extensions),
        services=services,
        named=tuple(_named(raw)),
        port_variables=port_variables(raw, services),
        address_variables=address_variables(raw, services),
        notices=_all_notices(unescaped(config), raw, source.directory, real, ignored),
        approve=_yes_or_no(options.get("approve", False), "x-moorage.approve"),
        ttl_s=seconds(options["ttl"], "x-moorage.ttl") if "ttl" in options else None,
        builder=_builder(options.get("builder")),
        dagger_expose=_dagger_expose(options.get("dagger")),
    )


def read_service(name: str, service: Config, config: Config, values: Mapping[str, str]) -> Service:
    """One service. `values` is needed only where secrets or configs come from the environment."""
    options = unescaped(_service_options(name, service))
    health = service.get("healthcheck") or {}
    grace, replicas = service.get("stop_grace_period"), _replicas(name, service)
    policy, pull_every_s = _pull_policy(name, service)
    published.check_exposed(name, service)
    return Service(
        name=name,
        image=_image(name, service),
        builds=bool(service.get("build")),
        pull_policy=policy,
        pull_every_s=pull_every_s,
        replicas=replicas,
        depends_on=tuple(_dependencies(service)),
        ports=tuple(published.mappings(name, service, replicas)),
        health_off=bool(health.get("disable")) or health.get("test") == ["NONE"],
        ready=_ready(name, options.get("ready")),
        probe_at_interval=_probe_at_interval(name, options.get("probe")),
        address_kept=_address_kept(name, options.get("address"), replicas),
        pre_start=tuple(_init_containers(name, service, config, values)),
        post_start=tuple(_hooks(unescaped(service.get("post_start")))),
        pre_stop=tuple(_hooks(unescaped(service.get("pre_stop")))),
        inject=tuple(injected(name, service, config, values)),
        stop_grace_s=None if grace is None else seconds(grace, f"services.{name}.stop_grace_period"),
    )


def unescaped(value: Any) -> Any:
    """A part of a config with `$` instead of Compose's `$$`, so that Compose's output can be read again."""
    match value:
        case str():
            return value.replace("$$", "$")
        case dict():
            return {key: unescaped(one) for key, one in value.items()}
        case list():
            return [unescaped(one) for one in value]
    return value


def secret_files(config: Config) -> tuple[str, ...]:
    """`x-moorage.secret_files`: paths of files whose every value is secret. Raises DefinitionError."""
    where, paths = "x-moorage.secret_files", _stack_options(config).get("secret_files")
    if paths is None:
        return ()
    if isinstance(paths, list) and all(isinstance(path, str) and path for path in paths):
        return tuple(unescaped(paths))
    message = f"{where}: expected a list of paths, found {paths!r}"
    raise DefinitionError(message, key=where, hint="Example: secret_files: [keys.env, nginx.conf].")


def service_extensions(raw: Config) -> dict[str, Config]:
    """`x-moorage` of each service that has one."""
    return {name: s["x-moorage"] for name, s in (raw.get("services") or {}).items() if s and s.get("x-moorage")}


def _stack_options(config: Config) -> Config:
    options = config.get("x-moorage") or {}
    _refuse_strangers(options, _STACK_KEYS, "x-moorage")
    return dict(options)


def _builder(value: Any) -> str | None:
    if value is None or str(value) in list(BuilderName):
        return None if value is None else str(value)
    message = f"x-moorage.builder: {value!r} is not a valid builder"
    raise DefinitionError(message, key="x-moorage.builder", hint=f"Valid values: {', '.join(BuilderName)}.")


def _dagger_expose(value: Any) -> bool:
    where = "x-moorage.dagger"
    if value is None:
        return False
    _refuse_strangers(value, frozenset({"expose"}), where)
    return _yes_or_no(value.get("expose", False), f"{where}.expose")


def _yes_or_no(value: Any, where: str) -> bool:
    """A boolean; it is text if it comes from a variable."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise DefinitionError(f"{where}: expected true or false, found {value!r}", key=where)


def _service_options(name: str, service: Config) -> Config:
    options = service.get("x-moorage") or {}
    _refuse_strangers(options, _SERVICE_KEYS, f"services.{name}.x-moorage")
    return dict(options)


def _refuse_strangers(options: Any, known: frozenset[str], where: str) -> None:
    if not isinstance(options, dict):
        message = f"{where}: expected a mapping, found {options!r}"
        raise DefinitionError(message, key=where, hint=f"Valid keys: {', '.join(sorted(known))}.")
    for key in options:
        if key not in known:
            message = f"{where}.{key}: no such key"
            raise DefinitionError(message, key=f"{where}.{key}", hint=f"Valid keys: {', '.join(sorted(known))}.")


def is_reference(text: str) -> bool:
    """True for a valid name of an image. Others must not become part of URLs of the engine's API."""
    return _REFERENCE.fullmatch(text) is not None


def _image(name: str, service: Config) -> str | None:
    """The image's name, if it is valid."""
    image = service.get("image")
    if image is None or is_reference(image):
        return None if image is None else str(image)
    where = f"services.{name}.image"
    message = f"{where}: {image[:80]!r} is not a valid image name"
    hint = "Example: registry.example.org:5000/team/app:1.2, in lower case except for the tag."
    raise DefinitionError(message, service=name, key=where, hint=hint)


def _pull_policy(name: str, service: Config) -> tuple[str, float | None]:
    """The policy, and how often it pulls, in seconds. None: it does not go by time."""
    policy = str(service.get("pull_policy") or "missing")
    if policy in _PULL_POLICIES:
        return ("missing" if policy in _ALSO_MISSING else policy), None
    if policy in _PULL_TIMES:
        return "missing", _PULL_TIMES[policy]
    where = f"services.{name}.pull_policy"
    if _PULL_EVERY.fullmatch(policy):
        return "missing", seconds(policy.removeprefix("every_"), where)
    message = f"{where}: {policy!r} is not a policy"
    hint = f"Valid values: {', '.join(sorted(_PULL_POLICIES))}, daily, weekly, every_12h and the like (w, d, h, m, s)."
    raise DefinitionError(message, service=name, key=where, hint=hint)


def _replicas(name: str, service: Config) -> int:
    deploy = service.get("deploy") or {}
    key, replicas = ("deploy.replicas", deploy["replicas"]) if "replicas" in deploy else ("scale", service.get("scale"))
    return 1 if replicas is None else _number(replicas, f"services.{name}.{key}", _REPLICAS)


def _dependencies(service: Config) -> Iterable[Dependency]:
    shared = {other for other, key in attachments.shared_with(service) if key in attachments.NAMESPACES}
    for name, value in (service.get("depends_on") or {}).items():
        yield Dependency(
            service=name,
            condition=Condition(value.get("condition", "service_started")),
            required=value.get("required", True),
            restart=value.get("restart", False),
            shares=name in shared,
        )


def _ready(name: str, value: Any) -> ReadyCheck | None:
    where = f"services.{name}.x-moorage.ready"
    if value is None:
        return None
    _refuse_strangers(value, _READY_KEYS, where)
    timeout = value.get("timeout")
    kinds = [key for key in value if key != "timeout"]
    if len(kinds) != 1:
        message = f"{where}: expected one of http, tcp, log, exec, exit, found {', '.join(kinds) or 'none'}"
        raise DefinitionError(message, service=name, key=where, hint="Give exactly one check per service.")
    fields = _CHECKS[kinds[0]](value[kinds[0]], f"{where}.{kinds[0]}")
    timeout_s = None if timeout is None else seconds(timeout, f"{where}.timeout")
    if timeout_s == 0:
        raise DefinitionError(f"{where}.timeout: {timeout!r} is no time at all", service=name, key=f"{where}.timeout")
    return ReadyCheck.model_validate({"check": Check(kinds[0]), "timeout_s": timeout_s, **fields})


def _http(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"path": value}
    _refuse_strangers(value, frozenset({"path", "port", "status"}), where)
    limits = {"port": published.PORTS, "status": range(100, 600)}
    return {k: (str(value[k]) if k == "path" else _number(value[k], f"{where}.{k}", limits[k])) for k in value}


def _tcp(value: Any, where: str) -> dict[str, Any]:
    return {"port": None if value in (None, True) else _number(value, where, published.PORTS)}


def _log(value: Any, where: str) -> dict[str, Any]:
    line_pattern(str(value), where)
    return {"pattern": str(value)}


def _exec(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str) and value:
        return {"command": ["/bin/sh", "-c", value]}
    if isinstance(value, list) and value:
        return {"command": [str(part) for part in value]}
    message = f"{where}: {value!r} is not a command"
    raise DefinitionError(message, key=where, hint='Give a string or a list, such as exec: "pg_isready -q".')


def _exit(value: Any, where: str) -> dict[str, Any]:
    return {"exit_code": 0 if value in (None, True) else _number(value, where, range(256))}


_CHECKS = {"http": _http, "tcp": _tcp, "log": _log, "exec": _exec, "exit": _exit}


def _number(value: Any, where: str, limits: range) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        message = f"{where}: {value!r} is not a number"
        raise DefinitionError(message, key=where) from None
    if number not in limits:
        raise DefinitionError(f"{where}: {number} is not between {limits[0]} and {limits[-1]}", key=where)
    return number


def _probe_at_interval(name: str, value: Any) -> bool:
    if value not in (None, "active", "interval"):
        where = f"services.{name}.x-moorage.probe"
        message = f"{where}: {value!r} is neither active nor interval"
        raise DefinitionError(message, service=name, key=where)
    return bool(value == "interval")


def _address_kept(name: str, value: Any, replicas: int) -> bool:
    where = f"services.{name}.x-moorage.address"
    if value not in (None, "keep"):
        message = f"{where}: {value!r} is not keep"
        hint = "An address of your own choice is Compose's `networks.NAME.ipv4_address`."
        raise DefinitionError(message, service=name, key=where, hint=hint)
    if value and replicas > 1:
        message = f"{where}: one address for {replicas} replicas"
        raise DefinitionError(message, service=name, key=where, hint="Only a service with one replica can keep it.")
    return bool(value)


def _hooks(hooks: Any) -> Iterable[Hook]:
    for hook in hooks or ():
        environment = hook.get("environment") or {}
        pairs = environment.items() if isinstance(environment, dict) else (e.partition("=")[::2] for e in environment)
        yield Hook(
            command=tuple(hook["command"]),
            user=hook.get("user") or "",
            privileged=bool(hook.get("privileged")),
            working_dir=hook.get("working_dir") or None,
            environment=tuple(f"{key}={value}" for key, value in pairs if value is not None),
        )


def _init_containers(name: str, service: Config, config: Config, values: Mapping[str, str]) -> Iterable[InitContainer]:
    for number, one in enumerate(service.get("pre_start") or ()):
        where = f"{name}.pre_start[{number}]"
        references.check_declared(where, one, config)
        image = _image(where, one)
        policy, pull_every_s = _pull_policy(where, one)
        yield InitContainer(
            command=tuple(map(str, unescaped(one.get("command")) or ())),
            image=None if image == service.get("image") else image,
            pull_policy=policy,
            pull_every_s=pull_every_s,
            inject=tuple(injected(where, one, config, values)),
        )


def _with_extensions(config: Config, extensions: Mapping[str, Config]) -> Config:
    """The config with the `x-moorage` of services, which Compose's JSON omits."""
    services = {
        name: {**service, "x-moorage": extensions[name]} if name in extensions else service
        for name, service in config.get("services", {}).items()
    }
    return {**config, "services": services}


def _named(raw: Config) -> Iterable[str]:
    for kind in ("networks", "volumes"):
        for key, thing in (raw.get(kind) or {}).items():
            name = str((thing or {}).get("name") or "")
            if name and "$" not in name:  # `${COMPOSE_PROJECT_NAME}_data` is what Compose would say, not a choice
                yield f"{kind}.{key}"


def _all_notices(
    config: Config, raw: Config, directory: Path, real: reach.Real, ignored: Iterable[str]
) -> tuple[str, ...]:
    own = tuple(keys.notices(config))
    told = {notice.partition(": ")[0] for notice in own}
    further = (words for words in ignored if words.partition(": ")[0] not in told)
    return (*_notices(config), *reach.notices(config, raw, directory, real), *own, *further)


def _notices(config: Config) -> Iterable[str]:
    """Notices about the definition, for the plan."""
    name = config["name"]
    for key, service in config.get("services", {}).items():
        if service.get("container_name"):
            yield f"services.{key}.container_name: replaced by a network alias, because names are machine-wide"
    for kind in ("volumes", "networks"):
        for key, thing in (config.get(kind) or {}).items():
            if thing and (thing.get("external") or thing.get("name") != f"{name}_{key}"):
                yield f"{kind}.{key}: {thing.get('name', key)} is shared with everything else that uses this name"
                if kind == "networks":
                    yield from _answers(config, key)


def _answers(config: Config, network: str) -> Iterable[str]:
    """Names are looked up per network: on a shared one, those of two copies of a stack are the same."""
    names = [key for key, service in config.get("services", {}).items() if network in (service.get("networks") or {})]
    if names:
        first = f"{config['name']}-{names[0]}-1"
        yield (
            f"networks.{network}: other stacks' services called {', '.join(names)} answer there too, in turn with "
            f"this stack's; `{first}` is this stack's alone"
        )
