"""From a definition to what Compose creates: leased ports, pinned images, our labels."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

from moorage.model.definition import Config, Definition, InitContainer, InjectedFile, PortMapping, Service
from moorage.model.generation import PinnedImage
from moorage.model.lease import Lease, LeaseKey, Request
from moorage.rules import labels
from moorage.rules.injecting import is_injected

LOOPBACK = "127.0.0.1"
SKIPPED = "x-moorage-skipped"
"""Of a published range, the ports that are not leased: Compose takes no notice of such a key."""
_INIT = ".pre_start"
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
NOT_IN_DIGEST = frozenset({"depends_on", "profiles", "scale", "x-moorage", "pull_policy"})
"""Compose's own hash leaves these out too; otherwise Compose would re-create containers unannounced by any plan."""


def requests_of(definition: Definition) -> tuple[Request, ...]:
    """One lease request for each published port."""
    return tuple(
        Request(
            key=lease_key(definition.name, port),
            wanted=port.wanted,
            wanted_last=port.wanted_last,
            count=port.count,
            host_ip=port.host_ip,
            fixed=port.fixed,
        )
        for service in definition.services.values()
        if service.replicas
        for port in service.ports
    )


def lease_key(stack: str, port: PortMapping) -> LeaseKey:
    """Key of the lease of a port mapping."""
    return LeaseKey(stack=stack, service=port.service, target=port.target, protocol=port.protocol, slot=port.slot)


def lease_keys(stack: str, services: Mapping[str, Service]) -> frozenset[LeaseKey]:
    """Keys of all leases that the services of a stack need."""
    return frozenset(lease_key(stack, port) for one in services.values() if one.replicas for port in one.ports)


def with_wanted_ports(definition: Definition, file: Definition) -> Definition:
    """A definition that was read with leased ports in its variables, with the ports that the file wants."""
    wanted = {
        lease_key(file.name, port): {"wanted": port.wanted, "wanted_last": port.wanted_last}
        for service in file.services.values()
        for port in service.ports
    }
    services = {}
    for name, service in definition.services.items():
        ports = (port.model_copy(update=wanted.get(lease_key(file.name, port))) for port in service.ports)
        services[name] = service.model_copy(update={"ports": tuple(ports)})
    return definition.model_copy(update={"services": services})


def leased_variables(definition: Definition, leases: Sequence[Lease]) -> dict[str, str]:
    """Variable → leased port, for every use of the variable; with the address, if its value has one."""
    return {name: value for name, (value, _) in _leased_variables(definition, leases).items()}


def moved_variables(definition: Definition, leases: Sequence[Lease]) -> dict[str, str]:
    """The same for ports that are not the ones that the file wants: it has to be read again with those."""
    return {name: value for name, (value, moved) in _leased_variables(definition, leases).items() if moved}


def _leased_variables(definition: Definition, leases: Sequence[Lease]) -> dict[str, tuple[str, bool]]:
    ports = {lease.key: lease.port for lease in leases}
    mappings = {lease_key(definition.name, port): port for one in definition.services.values() for port in one.ports}
    found = {}
    for variable, (service, target, protocol, slot) in definition.port_variables.items():
        key = LeaseKey.model_validate(
            {"stack": definition.name, "service": service, "target": target, "protocol": protocol, "slot": slot}
        )
        mapping = mappings.get(key)
        if key in ports and mapping:
            host = f"{_in_brackets(mapping.host_ip)}:" if variable in definition.address_variables else ""
            found[variable] = (f"{host}{ports[key]}", ports[key] != mapping.wanted)
    return found


def _in_brackets(host: str | None) -> str:
    return f"[{host}]" if host and ":" in host else host or ""


def compose_config(
    definition: Definition, leases: Sequence[Lease], images: Mapping[str, PinnedImage], home: str
) -> tuple[Config, dict[str, str]]:
    """The project for Compose to create, and the digest of each service.

    A service without an image in `images` keeps its build section and image name: that is the config to build from.
    """
    ports = {lease.key: lease for lease in leases}
    config = json.loads(json.dumps(definition.config))
    own = {labels.STACK: definition.name, labels.HOME: home}
    for kind in ("networks", "volumes"):
        for thing in (config.get(kind) or {}).values():
            if thing is not None and not thing.get("external"):
                thing["labels"] = {**(thing.get("labels") or {}), **own}
    config.pop("jobs", None)
    digests = {}
    for name, service in config["services"].items():
        _drop_container_name(service)
        _drop_missing_dependencies(service, config["services"])
        _publish(service, definition.services[name].ports, definition.name, ports)
        _drop_injected(service, config)
        service.pop("develop", None)
        service.pop("profiles", None)  # only the requested ones are left, and `create` does not get them again
        if name in images:
            service.pop("build", None)
            service.update(image=images[name].tag, pull_policy="never")
        _settle_init_containers(name, service, config, definition.services[name], images)
        digests[name] = digest_of(service, config, definition.services[name])
        own_labels = {**own, labels.DIRECTORY: str(definition.source.directory), labels.DIGEST: digests[name]}
        for one in (service, *(service.get("pre_start") or ())):
            one["labels"] = {**(one.get("labels") or {}), **own_labels}
        _drop_empty_placement(service)
    for kind in ("secrets", "configs"):
        if kind in config:
            config[kind] = {key: thing for key, thing in config[kind].items() if not is_injected(thing)}
    return config, digests


def digest_of(service: Config, config: Config, typed: Service) -> str:
    """Digest of everything that a container of the service is created from.

    Keys that change nothing in a container are left out: order, profiles, number of replicas. Hooks count, as with
    Compose: a start runs the hooks of its time.
    """
    body = {key: value for key, value in service.items() if key not in NOT_IN_DIGEST}
    if deploy := body.get("deploy"):
        body["deploy"] = {key: value for key, value in deploy.items() if key != "replicas"}
    used = _things(service, config) | {"injected": [_facts(file) for file in typed.inject]}
    if typed.address_kept:
        used["address"] = "kept"
    if typed.pre_start:
        pairs = zip(service.get("pre_start") or (), typed.pre_start, strict=True)
        used["of init containers"] = [
            [_things(one, config), *(_facts(file) for file in known.inject)] for one, known in pairs
        ]
    return sha256(json.dumps([body, used], sort_keys=True).encode()).hexdigest()[:16]


def _things(service: Config, config: Config) -> dict[str, Any]:
    """What the project says of the networks, volumes, secrets and configs that a container is made with."""
    mounts = (one for one in service.get("volumes") or () if one.get("type") == "volume" and one.get("source"))
    return {
        "networks": {name: (config.get("networks") or {}).get(name) for name in service.get("networks") or {}},
        "volumes": {one["source"]: (config.get("volumes") or {}).get(one["source"]) for one in mounts},
        "secrets": [(config.get("secrets") or {}).get(use["source"]) for use in service.get("secrets") or ()],
        "configs": [(config.get("configs") or {}).get(use["source"]) for use in service.get("configs") or ()],
    }


def _facts(file: InjectedFile) -> list[Any]:
    return [file.target, file.content, file.mode, file.uid, file.gid]


def _settle_init_containers(
    name: str, service: Config, config: Config, typed: Service, images: Mapping[str, PinnedImage]
) -> None:
    """Init containers get pinned images too: their service's, or that of an image of their own."""
    for number, (one, known) in enumerate(zip(service.get("pre_start") or (), typed.pre_start, strict=True)):
        _drop_injected(one, config)
        pinned = images.get(init_image_key(name, number) if known.image else name)
        if pinned:
            one.update(image=pinned.tag, pull_policy="never")


def init_image_key(service: str, number: int) -> str:
    """What the image of an init container is known by where images are known by their service: `web.pre_start.0`."""
    return f"{service}{_INIT}.{number}"


def is_image_of(key: str, services: Collection[str]) -> bool:
    """True if it is the key of an image of one of the services, or of its init containers."""
    return key in services or key.rpartition(f"{_INIT}.")[0] in services


def init_images(definition: Definition) -> dict[str, tuple[str, InitContainer]]:
    """The images that init containers do not have from their service: key → its service, and whose it is."""
    return {
        init_image_key(name, number): (name, one)
        for name, service in sorted(definition.services.items())
        for number, one in enumerate(service.pre_start)
        if one.image and service.replicas
    }


def build_config(
    definition: Definition, leases: Sequence[Lease], home: str, marks: Mapping[str, Mapping[str, str]]
) -> Config:
    """The project for Compose to build and pull from. `marks`: labels for the image of each service that is built."""
    config, _ = compose_config(definition, leases, {}, home)
    for name, service in config["services"].items():
        if build := service.get("build"):
            build["labels"] = {**(build.get("labels") or {}), **marks.get(name, {})}
            service["image"] = image_reference(definition, name)
            for use in build.get("secrets") or ():  # dropped above if Moorage writes them into the running container
                wanted = (definition.config.get("secrets") or {}).get(use["source"])
                config.setdefault("secrets", {})[use["source"]] = wanted
    for key, (_, one) in init_images(definition).items():  # so that Compose can pull it by itself
        config["services"][key] = {"image": one.image}
    return config


def one_off_config(definition: Definition, service: str, home: str) -> Config:
    """The project for one container of a service that Compose itself starts, so that it also writes injected files.

    Nothing is built or pulled for it: its image is there.
    """
    config, _ = compose_config(definition, (), {}, home)
    one = config["services"][service]
    one.pop("build", None)
    one.pop("ports", None)
    one.update(image=image_reference(definition, service), pull_policy="never")
    for kind in ("secrets", "configs"):
        if uses := definition.config["services"][service].get(kind):
            one[kind] = uses
            config[kind] = definition.config[kind]
    return config


def image_reference(definition: Definition, service: str) -> str:
    """The image name of a service: the file's, else the one Compose gives a built image."""
    return definition.services[service].image or f"{definition.name}-{service}".lower()


def _drop_container_name(service: Config) -> None:
    """A container name is unique on the machine, a stack is not: it becomes an alias on each network."""
    name = service.pop("container_name", None)
    if not name or service.get("network_mode"):
        return
    networks = service.get("networks") or {"default": None}
    service["networks"] = {
        key: {**(value or {}), "aliases": [*((value or {}).get("aliases") or ()), name]}
        for key, value in networks.items()
    }


def _drop_missing_dependencies(service: Config, services: Config) -> None:
    """Drop optional dependencies of a disabled profile: in a file without the profile, Compose does not know them."""
    if "depends_on" in service:
        service["depends_on"] = {name: value for name, value in service["depends_on"].items() if name in services}


def _drop_empty_placement(service: Config) -> None:
    """`compose config` adds it to every `deploy`, and Compose then warns about it, once per service and call."""
    deploy = service.get("deploy") or {}
    if deploy.get("placement") == {}:
        del deploy["placement"]


def _publish(service: Config, mappings: Sequence[PortMapping], stack: str, leases: Mapping[LeaseKey, Lease]) -> None:
    """Replace the wanted ports with the leased ones, on loopback unless the file names an address."""
    for port, mapping in zip(service.get("ports") or (), mappings, strict=True):
        lease = leases.get(lease_key(stack, mapping))
        port["host_ip"] = mapping.host_ip or LOOPBACK
        if lease:
            port["published"] = str(lease.port) if lease.count == 1 else f"{lease.port}-{lease.ports[-1]}"
            if lease.skipped:
                port[SKIPPED] = list(lease.skipped)


def _drop_injected(service: Config, config: Config) -> None:
    """Drop secrets and configs that Moorage writes itself: Compose would write them only at a start of its own."""
    for kind in ("secrets", "configs"):
        uses = [use for use in service.get(kind) or () if not is_injected((config.get(kind) or {}).get(use["source"]))]
        service.pop(kind, None)
        if uses:
            service[kind] = uses


def file_text(config: Config) -> str:
    """The config as a file for Compose: JSON that its YAML reader understands.

    Without surrogate pairs (such as an emoji in a label); characters that YAML treats as line ends, or does not allow
    otherwise, are escaped (YAML 1.1, chapters 4.1 and 4.2).
    """
    text = json.dumps(config, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def override_text(definition: Definition, leases: Sequence[Lease]) -> str:
    """The override file that plain `docker compose` needs for the same ports.

    `!override` replaces the file's ports; a merge would add to them. Variables in the ports must be set too, for other
    uses of them: the first line names them.
    """
    ports = {lease.key: lease for lease in leases}
    variables = " ".join(f"{key}={value}" for key, value in leased_variables(definition, leases).items())
    lines = [f"# Variables: {variables}" if variables else "# No variables.", "services:"]
    for name, service in definition.services.items():
        if service.ports:
            copy = json.loads(json.dumps({"ports": definition.config["services"][name]["ports"]}))
            _publish(copy, service.ports, definition.name, ports)
            lines += [f"  {json.dumps(name)}:", f"    ports: !override {file_text(copy['ports'])}"]
    return "\n".join(lines if len(lines) > 2 else ["services: {}"])


def shared_networks(config: Config) -> tuple[str, ...]:
    """Names of the external networks that services are on."""
    known = config.get("networks") or {}
    used = {key for service in config["services"].values() for key in service.get("networks") or ()}
    return tuple(sorted(known[key]["name"] for key in used if (known.get(key) or {}).get("external")))
