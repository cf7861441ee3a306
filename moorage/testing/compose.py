"""`interfaces.Compose` on a machine in memory. It passes the same contract suite as the real one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from moorage.errors import EngineError, ImageError
from moorage.interfaces import Compose, Files, Line
from moorage.interfaces.compose import Reading, unheard
from moorage.model.definition import Config, HealthCheck, RestartPolicy, Source
from moorage.model.state import Attachment
from moorage.rules import dockerfile, graph, labels
from moorage.rules.durations import seconds
from moorage.rules.reading import service_extensions
from moorage.rules.secret_files import assigned
from moorage.testing import composefile, programs
from moorage.testing.machine import Box, FakeMachine, Image, Published, full

VERSION = "5.0.0"
_IMAGE = "com.docker.compose.image"
_NOT_IN_HASH = frozenset({"depends_on", "profiles", "scale", "pull_policy", "build", "x-moorage"})


def _unseen(_effect: str) -> None:
    """Ignore effects."""


class FakeCompose(Compose):
    """Compose in memory: reads compose files written as JSON, creates objects on a fake machine.

    `files`: where generation files are read from if they are not on disk. None: from disk. `on_effect` is called
    with a short text before each thing is created, stopped, removed, built or pulled; its errors end the call.
    """

    def __init__(
        self, machine: FakeMachine, files: Files | None = None, on_effect: Callable[[str], None] = _unseen
    ) -> None:
        self.machine = machine
        self._files = files
        self._on_effect = on_effect

    def seen_by(self, on_effect: Callable[[str], None]) -> FakeCompose:
        """This Compose with another `on_effect`."""
        return FakeCompose(self.machine, self._files, on_effect)

    def version(self) -> str:
        """A version that is new enough."""
        return VERSION

    def config(
        self, source: Source, name: str | None, environment: Mapping[str, str], on_warning: Line = unheard
    ) -> Config:
        """Gives no warnings."""
        variables = {**_variables(source), **environment}
        written = composefile.interpolated(composefile.read(source), variables, escape=True)
        return composefile.canonical(written, name or str(written.get("name") or source.directory.name), source)

    def begin_config(self, source: Source, name: str) -> Reading:
        """It is read when its result is asked for."""
        return _FakeReading(self, source, name)

    def raw_config(self, source: Source) -> Config:
        return composefile.read(source)

    def extensions(self, source: Source, name: str, environment: Mapping[str, str]) -> dict[str, Config]:
        variables = {**_variables(source), **environment, "COMPOSE_PROJECT_NAME": name}
        return service_extensions(composefile.interpolated(composefile.read(source), variables, escape=True))

    def interpolate(self, source: Source, values: Config, environment: Mapping[str, str]) -> Config:
        answer: Config = composefile.interpolated(values, {**_variables(source), **environment}, escape=True)
        return answer

    def variables(self, source: Source, names: Collection[str], stack: str | None = None) -> dict[str, str]:
        found = _variables(source) | ({"COMPOSE_PROJECT_NAME": stack} if stack else {})
        return {name: found[name] for name in names if name in found}

    def build(
        self, stack: str, file: Path, service: str, on_line: Line, variables: Mapping[str, str] | None = None
    ) -> None:
        """The image runs the `CMD` of its Dockerfile. What it is based on has to be there, or to be pulled."""
        self._on_effect(f"build {service}")
        config = self._read(file)["services"][service]
        build = config["build"]
        text = self._text(Path(build["context"]) / build.get("dockerfile", "Dockerfile"))
        copied = [line.split()[1] for line in text.splitlines() if line.startswith("COPY ")]
        if missing := [name for name in copied if not (Path(build["context"]) / name).exists()]:
            message = f"services.{service}: build failed: COPY {missing[0]}: no such file"
            raise ImageError(message, service=service, reason="build failed", log=text)
        self._pull_bases(service, text, build.get("additional_contexts") or {})
        command = next((line[4:] for line in text.splitlines() if line.startswith("CMD ")), '["sh"]')
        on_line("built")
        reference = config.get("image") or f"{stack}-{service}"
        self.machine.add_image(reference, json.loads(command), labels=build.get("labels") or {})

    def _pull_bases(self, service: str, text: str, contexts: Mapping[str, str]) -> None:
        bases = (base for base in dockerfile.bases(text, {}, contexts) if not base.startswith("service:"))
        for base in map(full, bases):
            with self.machine.mutex:
                found = self.machine.registry.get(base)
                if self.machine.image(base) is None and found is None:
                    message = f"services.{service}: build failed: manifest for {base} not found: manifest unknown"
                    raise ImageError(message, service=service, reason="build failed", log=text)
                if found and self.machine.image(base) is None:
                    self.machine.keep(found, base)

    def pull(self, stack: str, file: Path, service: str, on_line: Line) -> None:
        """Takes the image from the machine's registry."""
        self._on_effect(f"pull {service}")
        reference = full(self._read(file)["services"][service]["image"])
        with self.machine.mutex:
            image = self.machine.registry.get(reference)
            if image is None:
                message = f"services.{service}: pull failed: manifest for {reference} not found: manifest unknown"
                raise ImageError(message, service=service, reason="pull failed")
            self.machine.keep(image, reference)
        on_line("Pulled")

    def abort(self) -> None:
        """Does nothing: no call takes long."""

    def attends(self, mark: str) -> bool:
        """False: nothing runs on this machine but services."""
        return False

    def end_strays(self, stack: str) -> None:
        """Does nothing: no call outlives its process."""

    def create(self, stack: str, file: Path, services: Sequence[str], recreate: bool, on_line: Line) -> None:
        config = self._read(file)
        with self.machine.mutex:
            self._create(stack, file, config, services, recreate, on_line)

    def _create(
        self, stack: str, file: Path, config: Config, services: Sequence[str], recreate: bool, on_line: Line
    ) -> None:
        typed = composefile.typed(config)
        chosen = graph.with_dependencies(typed, services or typed)
        config = {**config, "services": {name: one for name, one in config["services"].items() if name in chosen}}
        creation = _Creation(self.machine, stack, config, file.parent, self._on_effect, on_line)
        creation.create_networks()
        creation.create_volumes()
        creation.remove_orphans(typed)
        for name in graph.order({name: typed[name] for name in chosen}):
            creation.create_service(name, recreate=recreate and (not services or name in services))

    def _read(self, file: Path) -> Config:
        written = composefile.interpolated(json.loads(self._text(file)), {}, escape=False)
        return composefile.canonical(written, written["name"], Source(directory=file.parent))

    def _text(self, file: Path) -> str:
        root: Path | None = getattr(self._files, "root", None)
        kept = self._files.read(str(file.relative_to(root))) if self._files and root in file.parents and root else None
        return kept if kept is not None else file.read_text()


class _FakeReading(Reading):
    def __init__(self, compose: FakeCompose, source: Source, name: str) -> None:
        self._compose, self._source, self._name = compose, source, name

    def result(self, on_warning: Line = unheard) -> Config:
        return self._compose.config(self._source, self._name, {}, on_warning)

    def cancel(self) -> None:
        pass


class _Creation:
    """One call of `create`."""

    def __init__(
        self,
        machine: FakeMachine,
        stack: str,
        config: Config,
        directory: Path,
        on_effect: Callable[[str], None],
        on_line: Line,
    ) -> None:
        self.machine = machine
        self.stack = stack
        self.config = config
        self.directory = directory
        self.on_effect = on_effect
        self.on_line = on_line

    def create_networks(self) -> None:
        """Create missing networks that services use, and re-create those whose options changed."""
        used = {name for service in self.config["services"].values() for name in service.get("networks") or {}}
        for key, thing in (self.config.get("networks") or {}).items():
            if key not in used:
                continue
            network = self.machine.networks.get(thing["name"])
            if network is None:
                self._refuse_external("network", thing)
                self._create_network(key, thing)
            elif not thing.get("external") and network.labels.get(labels.COMPOSE_HASH, "") not in ("", _digest(thing)):
                self._recreate_network(key, thing)

    def _create_network(self, key: str, thing: Config) -> None:
        self.on_effect(f"create network {thing['name']}")
        marks = {**(thing.get("labels") or {}), **self._project(), "com.docker.compose.network": key}
        pool: Config = next(iter((thing.get("ipam") or {}).get("config") or ()), {})
        self.machine.add_network(thing["name"], {**marks, labels.COMPOSE_HASH: _digest(thing)}, pool.get("subnet"))
        self.on_line(f" Network {thing['name']} Created")

    def _recreate_network(self, key: str, thing: Config) -> None:
        """As with Compose, containers stay off the network if it fails, and are without their names on the new one."""
        name = thing["name"]
        users = [name for name, service in self.config["services"].items() if key in (service.get("networks") or {})]
        boxes = [one for one in self.machine.of_project(self.stack) if one.labels[labels.COMPOSE_SERVICE] in users]
        for box in boxes:
            self._stop(box)
            self.on_effect(f"disconnect {box.name} from {name}")
            box.networks.pop(name, None)
        self.on_effect(f"remove network {name}")
        self.machine.remove_network(name)
        self.on_line(f" Network {name} Removed")
        self._create_network(key, thing)
        for box in boxes:
            self.on_effect(f"connect {box.name} to {name}")
            box.networks[name] = Attachment()

    def create_volumes(self) -> None:
        """Create missing volumes; one whose options changed stays as it is, as nobody says that its data may go."""
        for key, thing in (self.config.get("volumes") or {}).items():
            if thing["name"] not in self.machine.volumes:
                self._refuse_external("volume", thing)
                self.on_effect(f"create volume {thing['name']}")
                marks = {**(thing.get("labels") or {}), **self._project(), "com.docker.compose.volume": key}
                options = thing.get("driver_opts")
                self.machine.add_volume(thing["name"], marks, driver=thing.get("driver", "local"), options=options)
                self.on_line(f" Volume {thing['name']} Created")

    def _refuse_external(self, kind: str, thing: Config) -> None:
        if thing.get("external"):
            message = f"compose create: {kind} {thing['name']} declared as external, but could not be found"
            raise EngineError(message, call="create")

    def remove_orphans(self, known: Collection[str]) -> None:
        """Remove containers of services that the definition does not have; anonymous volumes stay, as with Compose."""
        for box in self.machine.of_project(self.stack):
            if box.labels[labels.COMPOSE_SERVICE] not in known:
                self._remove(box)
        for box in self.machine.init_boxes(self.stack):
            if box.labels[labels.COMPOSE_SERVICE] not in self.config["services"]:
                self.machine.drop(box, volumes=True)

    def create_service(self, name: str, *, recreate: bool) -> None:
        """Create or re-create containers, so that number and content match the definition."""
        service = self.config["services"][name]
        wanted = composefile.typed(self.config)[name].replicas
        image = self._image(name, service) if wanted else None
        mine = [box for box in self.machine.of_project(self.stack) if box.labels[labels.COMPOSE_SERVICE] == name]
        hashed = self._hash(service)
        mine.sort(key=lambda box: (self._is_stale(box, service, image, hashed), int(box.labels[labels.COMPOSE_NUMBER])))
        for box in mine[wanted:]:
            self._remove(box)
        for box in mine[:wanted]:
            if recreate or self._is_stale(box, service, image, hashed):
                self._stop_dependents(name)
                self._recreate(box, name, image)
        highest = max((int(box.labels[labels.COMPOSE_NUMBER]) for box in mine[:wanted]), default=0)
        for number in range(highest + 1, highest + 1 + wanted - len(mine[:wanted])):
            box = self._box(name, number, image)
            self.on_effect(f"create container {box.name}")
            self.machine.add_box(box)
            self.on_line(f" Container {box.name} Created")
        self.create_init_containers(name, service)

    def create_init_containers(self, name: str, service: Config) -> None:
        """Create those of a service none of whose containers runs; those of before make room."""
        mine = [box for box in self.machine.of_project(self.stack) if box.labels[labels.COMPOSE_SERVICE] == name]
        if not service.get("pre_start") or not mine or any(box.running for box in mine):
            return
        for box in self.machine.init_boxes(self.stack):
            if box.labels[labels.COMPOSE_SERVICE] == name:
                self.machine.drop(box, volumes=True)
        for number, hook in enumerate(service["pre_start"]):
            self._create_init_container(name, number, hook, mine[0])

    def _create_init_container(self, service: str, number: int, hook: Config, of: Box) -> None:
        image = self._image(service, hook)
        marks = {
            **(hook.get("labels") or {}),
            **self._project(),
            labels.COMPOSE_SERVICE: service,
            labels.COMPOSE_HOOK: "pre_start",
            labels.COMPOSE_HOOK_INDEX: str(number),
        }
        box = Box(
            id=self.machine.new_id(),
            name=f"{self.stack}-{service}-pre_start-{number}",
            image_id=image.id,
            labels=marks,
            command=tuple(hook.get("command") or image.command),
            environment={key: value or "" for key, value in (hook.get("environment") or {}).items()},
            mounts=dict(of.mounts),
            networks=of.networks,
        )
        self.on_effect(f"create container {box.name}")
        self.machine.add_box(box)
        self.on_line(f" Container {box.name} Created")

    def _image(self, name: str, service: Config) -> Image:
        reference = service.get("image") or f"{self.stack}-{name}"
        image = self.machine.image(reference)
        if image is None:
            message = f"compose create: No such image: {reference}"
            raise EngineError(message, call="create")
        return image

    def _is_stale(self, box: Box, service: Config, image: Image | None, hashed: str) -> bool:
        if box.labels.get(labels.COMPOSE_HASH) != hashed or (image and box.labels.get(_IMAGE) != image.id):
            return True
        names = [self.config["networks"][key]["name"] for key in service.get("networks") or {}]
        wanted = {self.machine.networks[name].id for name in names if name in self.machine.networks}
        return box.state == "running" and not wanted <= {place.id for place in box.networks.values()}

    def _hash(self, service: Config) -> str:
        """Of a service whose references to others are to their containers, so that it changes with those."""
        ids = {box.labels[labels.COMPOSE_SERVICE]: box.id for box in self.machine.of_project(self.stack)}
        shared = sorted((key, ids.get(name, name)) for name, key in _shared(service))
        return _digest({key: value for key, value in service.items() if key not in _NOT_IN_HASH} | {"shared": shared})

    def _stop_dependents(self, name: str) -> None:
        for other, service in self.config["services"].items():
            if ((service.get("depends_on") or {}).get(name) or {}).get("restart"):
                for box in self.machine.of_project(self.stack):
                    if box.labels[labels.COMPOSE_SERVICE] == other:
                        self._stop(box)

    def _stop(self, box: Box) -> None:
        if box.running:
            self.on_effect(f"stop {box.name}")
            self.machine.end(box, programs.code_on_term(box.command))

    def _remove(self, box: Box) -> None:
        self._stop(box)
        self.on_effect(f"remove {box.name}")
        self.machine.drop(box, volumes=False)
        self.on_line(f" Container {box.name} Removed")

    def _recreate(self, old: Box, service: str, image: Image | None) -> None:
        """Create the new one next to the old one; it takes over the anonymous volumes, then the name."""
        new = self._box(service, int(old.labels[labels.COMPOSE_NUMBER]), image)
        kept = {*new.mounts, *(image.volumes if image else ())}
        for path, volume in old.mounts.items():
            if self.machine.is_anonymous(volume) and path in kept and not new.mounts.get(path):
                new.mounts[path] = volume
        temporary = replace(new, name=f"{old.id[:12]}_{old.name}")
        self.on_effect(f"create container {temporary.name}")
        self.machine.add_box(temporary)
        self._remove(old)
        self.on_effect(f"rename {temporary.name}")
        temporary.name = new.name
        self.on_line(f" Container {new.name} Recreated")

    def _box(self, name: str, number: int, image: Image | None) -> Box:
        assert image is not None, "a service with containers has an image"  # noqa: S101 - a bug in the fake
        service = self.config["services"][name]
        marks = {
            **(service.get("labels") or {}),
            **self._project(),
            labels.COMPOSE_SERVICE: name,
            labels.COMPOSE_NUMBER: str(number),
            labels.COMPOSE_ONEOFF: "False",
            labels.COMPOSE_DIRECTORY: str(self.directory),
            labels.COMPOSE_HASH: self._hash(service),
            _IMAGE: image.id,
        }
        command = service.get("command") or image.command
        policy, most_restarts = _restart_policy(service)
        return Box(
            id=self.machine.new_id(),
            name=service.get("container_name") or f"{self.stack}-{name}-{number}",
            image_id=image.id,
            labels=marks,
            command=tuple(command.split() if isinstance(command, str) else command),
            environment={key: value or "" for key, value in (service.get("environment") or {}).items()},
            ports=tuple(_published(port) for port in service.get("ports") or ()),
            mounts={**self._mounts_of_others(service), **dict(self._mounts(service))},
            networks={self.config["networks"][key]["name"]: place for key, place in _places(name, service)},
            health_check=_health_check(service.get("healthcheck") or {}),
            restart_policy=policy,
            most_restarts=most_restarts,
        )

    def _mounts(self, service: Config) -> Iterator[tuple[str, str]]:
        for mount in service.get("volumes") or ():
            if mount["type"] == "volume":
                key = mount.get("source")
                yield mount["target"], self.config["volumes"][key]["name"] if key else ""

    def _mounts_of_others(self, service: Config) -> dict[str, str]:
        others = {name for name, key in _shared(service) if key == "volumes_from"}
        boxes = [one for one in self.machine.of_project(self.stack) if one.labels[labels.COMPOSE_SERVICE] in others]
        return {path: volume for box in boxes for path, volume in box.mounts.items()}

    def _project(self) -> dict[str, str]:
        return {labels.COMPOSE_PROJECT: self.stack}


def _variables(source: Source) -> dict[str, str]:
    """Env files, overridden by the environment, overridden by the source's own variables."""
    files = source.env_files or (source.directory / ".env",)
    of_files = {name: value for file in files if file.is_file() for name, value in assigned(file.read_text())}
    return {**of_files, **os.environ, **dict(source.environment)}


def _digest(thing: Config) -> str:
    body: dict[str, Any] = dict(thing)
    if "deploy" in body:
        body["deploy"] = {key: value for key, value in body["deploy"].items() if key != "replicas"}
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _shared(service: Config) -> Iterator[tuple[str, str]]:
    """(service, key) of what a service shares with the containers of others."""
    for key in ("network_mode", "ipc", "pid"):
        kind, _, other = str(service.get(key) or "").partition(":")
        if kind == "service":
            yield other, key
    yield from ((one.partition(":")[0], "volumes_from") for one in service.get("volumes_from") or ())


def _places(name: str, service: Config) -> Iterator[tuple[str, Attachment]]:
    for key, options in (service.get("networks") or {}).items():
        yield key, Attachment(aliases=(name, *((options or {}).get("aliases") or ())))


def _published(port: Config) -> Published:
    first, _, last = str(port.get("published") or "0").partition("-")
    return Published(int(port["target"]), port["protocol"], port.get("host_ip", ""), int(first), int(last or first))


def _restart_policy(service: Config) -> tuple[RestartPolicy, int]:
    """The policy and its most attempts, as Compose tells them to the engine: `deploy` counts more than `restart`."""
    if told := (service.get("deploy") or {}).get("restart_policy"):
        condition = told.get("condition", "no")
        names = {"none": RestartPolicy.NO, "any": RestartPolicy.ALWAYS}
        return names.get(condition) or RestartPolicy(condition), int(told.get("max_attempts") or 0)
    name, _, most = str(service.get("restart") or "no").partition(":")
    return RestartPolicy(name), int(most or 0)


def _health_check(written: Config) -> HealthCheck | None:
    test = written.get("test")
    if not test or written.get("disable") or test == ["NONE"]:
        return None
    shell = ["/bin/sh", "-c"]
    command = [*shell, test] if isinstance(test, str) else [*shell, *test[1:]] if test[0] == "CMD-SHELL" else test[1:]
    keys = ("interval", "timeout", "start_period")
    times = {f"{key}_s": seconds(written[key], f"healthcheck.{key}") for key in keys if key in written}
    times = {key: time_s for key, time_s in times.items() if time_s}  # zero means the engine's default
    return HealthCheck.model_validate({"command": command, "retries": written.get("retries") or 3, **times})
