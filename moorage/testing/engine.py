"""`interfaces.Engine` on a machine in memory. It passes the same contract suite as the real one."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from moorage.errors import EngineError, ImageError, PortTakenError
from moorage.interfaces import Engine
from moorage.model.engine import EnginePlace
from moorage.model.image import Layer, StoredImage
from moorage.model.state import Container, Observed, VolumeOptions
from moorage.rules import labels
from moorage.rules.excerpts import end_of
from moorage.testing import programs
from moorage.testing.machine import Box, FakeMachine, Image, full

VERSION = "28.0.0-fake"
_TAIL_CHARACTERS = 4096


class FakeEngine(Engine):
    """A Docker engine in memory; safe across threads. Containers are ready, or have ended, as soon as they start."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine

    def ping(self) -> str:
        return VERSION

    def product(self) -> str:
        return self.machine.product

    def is_rootless(self) -> bool:
        return self.machine.is_rootless

    def has_limits(self) -> bool:
        return self.machine.has_limits

    def place(self) -> EnginePlace:
        return self.machine.place

    def identity(self) -> str:
        return self.machine.identity

    def observe(self, stack: str) -> Observed:
        machine = self.machine
        with machine.mutex:
            return Observed(
                stack=stack,
                containers=_containers(machine.of_project(stack)),
                init_containers=_containers(machine.init_boxes(stack)),
                one_offs=_containers(machine.of_project(stack, one_off=True)),
                unreadable=tuple(
                    labels.senseless(box.name, stack, words)
                    for box in machine.boxes.values()
                    if _of(box.labels, stack) and (words := labels.problem(box.labels))
                ),
                networks=tuple(sorted(name for name, one in machine.networks.items() if _of(one.labels, stack))),
                volumes=tuple(sorted(name for name, v in machine.volumes.items() if _of(v.labels, stack))),
                subnets={name: (network.subnet,) for name, network in machine.networks.items()},
                network_ids={name: (network.id,) for name, network in machine.networks.items()},
                volume_options={
                    name: VolumeOptions(driver=v.driver, options=v.options, labels=v.labels)
                    for name, v in machine.volumes.items()
                    if _of(v.labels, stack)
                },
            )

    def observe_each(self, stacks: Collection[str]) -> dict[str, Observed | EngineError]:
        return {stack: self.observe(stack) for stack in stacks}

    def containers(self, stack: str, service: str) -> tuple[Container, ...]:
        with self.machine.mutex:
            found = _containers(self.machine.of_project(stack))
        return tuple(sorted((c for c in found if c.service == service), key=lambda c: c.number))

    def init_containers(self, stack: str, service: str) -> tuple[Container, ...]:
        with self.machine.mutex:
            found = _containers(self.machine.init_boxes(stack))
        return tuple(sorted((c for c in found if c.service == service), key=lambda c: c.number))

    def stacks(self) -> dict[str, dict[str, str]]:
        with self.machine.mutex:
            marked = [box.labels for box in self.machine.boxes.values() if labels.COMPOSE_PROJECT in box.labels]
        lasting = [marks for marks in marked if marks.get(labels.COMPOSE_ONEOFF) == "False"]
        return {marks[labels.COMPOSE_PROJECT]: dict(marks) for marks in lasting}

    def stacks_of(self, home: str) -> frozenset[str]:
        machine = self.machine
        with machine.mutex:
            marked = [box.labels for box in machine.boxes.values()]
            marked += [thing.labels for things in (machine.networks, machine.volumes) for thing in things.values()]
        return frozenset(marks[labels.STACK] for marks in marked if marks.get(labels.HOME) == home)

    def inspect(self, container: str) -> Container | None:
        with self.machine.mutex:
            box = self.machine.box(container)
            return _container(box) if box else None

    def published_ports(self) -> frozenset[tuple[int, str]]:
        with self.machine.mutex:
            return frozenset(self.machine.published())

    def publishers(self) -> dict[tuple[int, str], str]:
        with self.machine.mutex:
            boxes = list(self.machine.boxes.values())
            return {(port.published, port.protocol): box.name for box in boxes for port in box.bound}

    def start(self, container: str) -> None:
        with self.machine.mutex:
            box = self.machine.existing(container)
            if box.running:
                return
            self.machine.connect(box)
            try:
                self.machine.bind(box)
            except PortTakenError as error:
                box.error = str(error)
                raise
            box.state, box.exit_code, box.error, box.started_at = "running", None, "", self.machine.clock.now()
            outcome = programs.run(box.command, box.environment, self.machine.files_of(box))
            box.output += outcome.output
            if outcome.exit_code is not None:
                self.machine.end(box, outcome.exit_code)

    def stop(self, container: str, grace_s: float) -> None:
        """The program ends at once: as its trap for SIGTERM says, else by SIGKILL."""
        with self.machine.mutex:
            box = self.machine.box(container)
            if box and box.running:
                self.machine.end(box, programs.code_on_term(box.command))

    def kill(self, container: str, signal: str = "SIGKILL") -> None:
        """Only SIGKILL and SIGTERM; other signals change nothing."""
        with self.machine.mutex:
            box = self.machine.box(container)
            if box is None or not box.running:
                return
            code = programs.KILLED if signal.endswith("KILL") else programs.code_on_term(box.command)
            if signal.endswith("KILL") or (signal.endswith("TERM") and code != programs.KILLED):
                self.machine.end(box, code)

    def remove(self, container: str, volumes: bool) -> None:
        with self.machine.mutex:
            box = self.machine.box(container)
            if box:
                self.machine.drop(box, volumes=volumes)

    def rename(self, container: str, name: str) -> None:
        with self.machine.mutex:
            box = self.machine.existing(container)
            self.machine.check_name(name)
            box.name = name

    def hold(self, name: str, image: str, labels: Mapping[str, str], volumes: Mapping[str, str]) -> None:
        machine = self.machine
        with machine.mutex:
            found = machine.image(image)
            missing = [volume for volume in volumes.values() if volume not in machine.volumes]
            if found is None or missing:
                raise EngineError(f"no such {'volume: ' + missing[0] if missing else 'image: ' + image}", status=404)
            machine.add_box(Box(machine.new_id(), name, found.id, dict(labels), ("true",), mounts=dict(volumes)))

    def remove_network(self, name: str) -> None:
        with self.machine.mutex:
            self.machine.remove_network(name)

    def remove_volume(self, name: str) -> None:
        with self.machine.mutex:
            if name in self.machine.volumes and (users := self.machine.users_of(name)):
                message = f"remove {name}: volume is in use - [{', '.join(box.id for box in users)}]"
                raise EngineError(message, status=409)
            self.machine.volumes.pop(name, None)

    def owner(self, kind: str, name: str) -> Mapping[str, str]:
        with self.machine.mutex:
            if kind == "network":
                network = self.machine.networks.get(name)
                return dict(network.labels) if network else {}
            volume = self.machine.volumes.get(name)
            return dict(volume.labels) if volume else {}

    def named(self, kind: str) -> Mapping[str, Mapping[str, str]]:
        machine = self.machine
        with machine.mutex:
            if kind == "container":
                return {box.name: dict(box.labels) for box in machine.boxes.values()}
            if kind == "network":
                return {name: dict(network.labels) for name, network in machine.networks.items()}
            return {name: dict(volume.labels) for name, volume in machine.volumes.items()}

    def image(self, reference: str) -> tuple[str, dict[str, str]] | None:
        with self.machine.mutex:
            image = self.machine.image(reference)
            return (image.id, dict(image.labels)) if image else None

    def tagged_at(self, reference: str) -> datetime | None:
        with self.machine.mutex:
            image = self.machine.image(reference)
            return self.machine.tagged.get(image.id) if image else None

    def repo_digest(self, reference: str) -> str | None:
        """None: the machine's registry has no digests."""
        return None

    def load(self, file: Path) -> str:
        try:
            with tarfile.open(file) as archive:
                name = json.loads(_member(archive, "manifest.json"))[0]["Config"]
                content = _member(archive, name)
        except (tarfile.TarError, KeyError, ValueError, IndexError) as error:
            message = f"the engine loaded no image: {error}"
            raise ImageError(message) from None
        config = json.loads(content)["config"]
        image_id = f"sha256:{sha256(content).hexdigest()}"
        image = Image(image_id, tuple(config.get("Cmd") or ("sh",)), config.get("Labels") or {}, ())
        with self.machine.mutex:
            self.machine.images[image_id] = image
        return image_id

    def tag(self, image_id: str, tag: str) -> None:
        with self.machine.mutex:
            image = self.machine.image(image_id)
            if image is None:
                raise ImageError(f"image {image_id} is gone", image=image_id)
            self.machine.keep(image, tag)

    def untag(self, tag: str) -> None:
        machine, name = self.machine, full(tag)
        with machine.mutex:
            image_id = machine.tags.get(name)
            is_last = list(machine.tags.values()).count(image_id or "") == 1
            if image_id is None or (is_last and any(box.image_id == image_id for box in machine.boxes.values())):
                return
            del machine.tags[name]
            if is_last:
                del machine.images[image_id]

    def stored_images(self) -> tuple[StoredImage, ...]:
        """In memory, each image is one layer, of one byte."""
        machine = self.machine
        with machine.mutex:
            return tuple(
                StoredImage(
                    image_id=image.id,
                    tags=tuple(sorted(tag for tag, image_id in machine.tags.items() if image_id == image.id)),
                    layers=(Layer(id=image.id, bytes=1),),
                    in_use=any(box.image_id == image.id for box in machine.boxes.values()),
                    tagged_at=machine.tagged.get(image.id),
                )
                for image in machine.images.values()
            )

    def remove_image(self, image_id: str) -> None:
        machine = self.machine
        with machine.mutex:
            if any(box.image_id == image_id for box in machine.boxes.values()):
                return
            machine.images.pop(image_id, None)
            machine.tags = {tag: other for tag, other in machine.tags.items() if other != image_id}

    def tags(self, prefix: str) -> tuple[str, ...]:
        with self.machine.mutex:
            return tuple(sorted(tag for tag in self.machine.tags if tag.startswith(prefix)))

    def exec(
        self,
        container: str,
        command: Sequence[str],
        *,
        user: str = "",
        working_dir: str | None = None,
        environment: Sequence[str] = (),
        privileged: bool = False,
        timeout_s: float | None = None,
    ) -> tuple[int, str]:
        with self.machine.mutex:
            box = self.machine.existing(container)
            if not box.running:
                raise EngineError(f"container {box.id} is not running", status=409)
            more = dict(pair.split("=", 1) for pair in environment)
            outcome = programs.run(command, {**box.environment, **more}, self.machine.files_of(box))
        if outcome.exit_code is None and timeout_s is not None:
            raise EngineError(f"{' '.join(command)}: no end within {timeout_s:g} s", timed_out=True)
        return outcome.exit_code or 0, end_of("\n".join(outcome.output).encode(), _TAIL_CHARACTERS).decode().strip()

    def logs(self, container: str, tail: int | None) -> str:
        with self.machine.mutex:
            box = self.machine.box(container)
            lines = list(box.output) if box else []
        chosen = lines if tail is None else lines[max(0, len(lines) - tail) :]
        return "".join(f"{line}\n" for line in chosen)

    def put_file(self, container: str, path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
        """Mode and owner are not kept."""
        with self.machine.mutex:
            self.machine.put(self.machine.existing(container), path, content.decode(errors="replace"))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    return file.read() if file else b""


def _of(marks: Mapping[str, str], stack: str) -> bool:
    return marks.get(labels.COMPOSE_PROJECT) == stack


def _containers(boxes: Iterable[Box]) -> tuple[Container, ...]:
    return tuple(_container(box) for box in boxes if not labels.problem(box.labels))


def _container(box: Box) -> Container:
    healthy = None if box.health_check is None or not box.running else "healthy"
    return Container(
        id=box.id,
        name=box.name,
        service=box.labels.get(labels.COMPOSE_SERVICE, ""),
        number=labels.number_of(box.labels),
        state=box.state,
        health=healthy,
        exit_code=box.exit_code if box.state == "exited" else None,
        restart_policy=box.restart_policy,
        most_restarts=box.most_restarts,
        program=box.command,
        image_id=box.image_id,
        digest=box.labels.get(labels.DIGEST, ""),
        ports=box.bound,
        volumes=dict(box.mounts),
        addresses=("192.0.2.1",) if box.running and box.networks else (),
        networks=dict(box.networks),
        created_at=box.created_at,
        started_at=box.started_at,
        finished_at=box.finished_at,
        health_check=box.health_check,
        error=box.error,
        labels=dict(box.labels),
    )
