"""A machine in memory: the objects of a Docker engine, and the rules of its daemon."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import IPv4Network
from itertools import count
from pathlib import PurePosixPath

from moorage.errors import EngineError, PortTakenError
from moorage.interfaces import Clock
from moorage.model.definition import HealthCheck, RestartPolicy
from moorage.model.engine import EnginePlace
from moorage.model.state import Attachment, BoundPort
from moorage.rules import engines, labels

_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, never bound to
_FIRST_EPHEMERAL = 49153

_POOL = IPv4Network("172.16.0.0/12")
_OVERLAP = "Pool overlaps with other one on this address space"


@dataclass
class Image:
    """An image: its command, and the paths of its anonymous volumes."""

    id: str
    command: tuple[str, ...] = ("sh",)
    labels: dict[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()


@dataclass
class Volume:
    """A volume; `token` identifies its content: a volume that was removed and re-created has another one."""

    name: str
    labels: dict[str, str]
    token: int
    files: dict[str, str] = field(default_factory=dict)
    driver: str = "local"
    options: dict[str, str] = field(default_factory=dict)


@dataclass
class Network:
    """A network; one that was removed and re-created has another id."""

    id: str
    labels: dict[str, str]
    subnet: str = ""


@dataclass
class Published:
    """A port mapping of a container: the first free port from `first` to `last`; 0: any."""

    target: int
    protocol: str
    host_ip: str
    first: int
    last: int


@dataclass
class Box:
    """A container on the machine."""

    id: str
    name: str
    image_id: str
    labels: dict[str, str]
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    ports: tuple[Published, ...] = ()
    mounts: dict[str, str] = field(default_factory=dict)
    """Path → volume."""
    networks: dict[str, Attachment] = field(default_factory=dict)
    """Name → place there; the id is known from the first start on, as with the real engine."""
    health_check: HealthCheck | None = None
    restart_policy: RestartPolicy = RestartPolicy.NO
    """Only shown: what ends stays ended."""
    most_restarts: int = 0
    state: str = "created"
    exit_code: int | None = None
    bound: tuple[BoundPort, ...] = ()
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def running(self) -> bool:
        """True if its program exists, even if paused."""
        return self.state in ("running", "paused")


class RunningClock(Clock):
    """The real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class FakeMachine:
    """Containers, networks, volumes, images. It outlives the worlds opened on it, like a real one."""

    def __init__(self, clock: Clock | None = None) -> None:
        """`clock` None: the real time."""
        self.mutex = threading.RLock()
        self.boxes: dict[str, Box] = {}
        self.networks: dict[str, Network] = {}
        self.volumes: dict[str, Volume] = {}
        self.images: dict[str, Image] = {}
        self.tags: dict[str, str] = {}
        """Tag → image id."""
        self.tagged: dict[str, datetime] = {}
        """Image id → when it was given a name last."""
        self.registry: dict[str, Image] = {}
        """Images that can be pulled."""
        self.busy_ports: set[tuple[int, str]] = set()
        """(port, protocol) of other programs on the machine, visible to probes."""
        self.hidden_ports: set[tuple[int, str]] = set()
        """The same, but not visible until a start fails."""
        self.routes: tuple[str, ...] = ()
        """Subnets that lead elsewhere."""
        self.hidden_subnets: set[str] = set()
        """Those that networks cannot have either, which shows only when one is created."""
        self.clock: Clock = clock or RunningClock()
        self.place = EnginePlace(address="memory:")
        self.product = engines.DOCKER
        self.is_rootless = False
        self.has_limits = True
        self.identity = "memory"
        self._numbers = count(1)

    def new_id(self) -> str:
        """64 hexadecimal digits that are never used again."""
        return sha256(str(next(self._numbers)).encode()).hexdigest()

    def add_image(
        self,
        tag: str,
        command: Sequence[str] = ("sh",),
        *,
        labels: Mapping[str, str] | None = None,
        volumes: Sequence[str] = (),
        pulled: bool = True,
    ) -> str:
        """Add an image to the machine, or only to the registry (`pulled` False); returns its id."""
        content = [tag, list(command), sorted((labels or {}).items()), list(volumes)]
        image_id = f"sha256:{sha256(repr(content).encode()).hexdigest()}"
        image = Image(image_id, tuple(command), dict(labels or {}), tuple(volumes))
        with self.mutex:
            if pulled:
                self.keep(image, tag)
            else:
                self.registry[full(tag)] = image
        return image_id

    def keep(self, image: Image, tag: str) -> None:
        """Store an image under a tag."""
        self.images[image.id] = image
        self.tags[full(tag)] = image.id
        self.tagged[image.id] = self.clock.now()

    def image(self, reference: str) -> Image | None:
        """An image by tag or id. None: not there."""
        return self.images.get(self.tags.get(full(reference), reference))

    def box(self, reference: str) -> Box | None:
        """A container by id or name. None: not there."""
        named = (box for box in self.boxes.values() if box.name == reference)
        return self.boxes.get(reference) or next(named, None)

    def existing(self, reference: str) -> Box:
        """A container by id or name. Raises EngineError."""
        box = self.box(reference)
        if box is None:
            raise EngineError(f"No such container: {reference}", status=404)
        return box

    def add_box(self, box: Box) -> Box:
        """Create a container with its anonymous volumes. Raises EngineError if its name is taken."""
        with self.mutex:
            self.check_name(box.name)
            for path in self.images[box.image_id].volumes:
                box.mounts.setdefault(path, "")
            box.mounts = {path: volume or self.add_volume() for path, volume in box.mounts.items()}
            box.created_at = self.clock.now()
            self.boxes[box.id] = box
            return box

    def check_name(self, name: str) -> None:
        """Raises EngineError if a container has this name."""
        if self.box(name):
            message = f'Conflict. The container name "/{name}" is already in use'
            raise EngineError(message, status=409)

    def add_volume(
        self,
        name: str = "",
        marks: Mapping[str, str] | None = None,
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
    ) -> str:
        """Create a volume; without a name, an anonymous one."""
        marks = marks or ({} if name else {"com.docker.volume.anonymous": ""})
        name = name or self.new_id()
        token = next(self._numbers)
        self.volumes[name] = Volume(name, dict(marks), token, driver=driver, options=dict(options or {}))
        return name

    def add_network(self, name: str, marks: Mapping[str, str] | None = None, subnet: str | None = None) -> Network:
        """Create a network. `subnet` None: the next free one. Raises EngineError: another network overlaps it."""
        used = [IPv4Network(one) for one in (*self.hidden_subnets, *(one.subnet for one in self.networks.values()))]
        if subnet and any(IPv4Network(subnet).overlaps(one) for one in used):
            message = f"failed to create network {name}: Error response from daemon: {_OVERLAP}"
            raise EngineError(message, call="create")
        free = (one for one in _POOL.subnets(new_prefix=24) if not any(one.overlaps(other) for other in used))
        network = Network(self.new_id(), dict(marks or {}), subnet or str(next(free)))
        self.networks[name] = network
        return network

    def users_of_network(self, name: str) -> list[Box]:
        """The running containers on a network."""
        ids = {self.networks[name].id} if name in self.networks else set()
        return [box for box in self.boxes.values() if box.running and ids & {one.id for one in box.networks.values()}]

    def remove_network(self, name: str) -> None:
        """Remove a network. Raises EngineError while running containers are on it."""
        if users := [box.name for box in self.users_of_network(name)]:
            message = f"error while removing network: network {name} has active endpoints ({', '.join(users)})"
            raise EngineError(message, status=403)
        self.networks.pop(name, None)

    def connect(self, box: Box) -> None:
        """Look up the networks of a container that starts. Raises EngineError: one of them is gone."""
        for name, place in box.networks.items():
            network = self.networks.get(name)
            if network is None or place.id not in ("", network.id):
                raise EngineError(f"network {place.id or name} not found", status=404)
            box.networks[name] = place.model_copy(update={"id": network.id})

    def is_anonymous(self, volume: str) -> bool:
        """True if it can be removed together with its container."""
        return volume in self.volumes and "com.docker.volume.anonymous" in self.volumes[volume].labels

    def users_of(self, volume: str) -> list[Box]:
        """The containers, running or not, that mount a volume."""
        return [box for box in self.boxes.values() if volume in box.mounts.values()]

    def of_project(self, name: str, *, one_off: bool = False) -> list[Box]:
        """The containers of a Compose project: of its services, or those of `run`; but its init containers."""
        boxes = (box for box in self._with_project(name) if labels.COMPOSE_HOOK not in box.labels)
        return [box for box in boxes if (box.labels.get(labels.COMPOSE_ONEOFF) == "True") == one_off]

    def init_boxes(self, name: str) -> list[Box]:
        """The init containers of a Compose project."""
        return [box for box in self._with_project(name) if labels.COMPOSE_HOOK in box.labels]

    def _with_project(self, name: str) -> list[Box]:
        return [box for box in self.boxes.values() if box.labels.get(labels.COMPOSE_PROJECT) == name]

    def end(self, box: Box, code: int) -> None:
        """End its program."""
        box.state, box.exit_code, box.bound = "exited", code, ()
        box.finished_at = self.clock.now()

    def drop(self, box: Box, *, volumes: bool) -> None:
        """Remove a container; `volumes`: with its anonymous volumes."""
        self.boxes.pop(box.id, None)
        for volume in set(box.mounts.values()) if volumes else ():
            if self.is_anonymous(volume) and not self.users_of(volume):
                del self.volumes[volume]

    def published(self) -> set[tuple[int, str]]:
        """(port, protocol) of every port published by a running container."""
        return {(port.published, port.protocol) for box in self.boxes.values() for port in box.bound}

    def bind(self, box: Box) -> None:
        """Publish its ports: all or, with PortTakenError, none."""
        bound: list[BoundPort] = []
        for port in sorted(box.ports, key=lambda p: f"{p.target}/{p.protocol}"):
            number = next((n for n in _choices(port) if self._is_free(n, port, bound)), None)
            if number is None:
                message = f"driver failed: Bind for {port.host_ip}:{port.first} failed: port is already allocated"
                raise PortTakenError(f"{box.id}: {message}", port=port.first)
            values = {"target": port.target, "protocol": port.protocol, "published": number}
            addresses = [port.host_ip] if port.host_ip else ["0.0.0.0", "::"]  # noqa: S104 - nothing is bound
            bound += [BoundPort.model_validate({**values, "host_ip": address}) for address in addresses]
        box.bound = tuple(bound)

    def _is_free(self, number: int, port: Published, more: Iterable[BoundPort]) -> bool:
        if (number, port.protocol) in self.busy_ports | self.hidden_ports:
            return False
        held = [*more, *(one for box in self.boxes.values() for one in box.bound)]
        return not any(
            one.published == number and one.protocol == port.protocol and _overlap(one.host_ip, port.host_ip)
            for one in held
        )

    def files_of(self, box: Box) -> dict[str, str]:
        """All files that a program in the container can see: its own and those of its volumes."""
        mounted = {
            f"{path}/{name}": text
            for path, volume in box.mounts.items()
            if volume in self.volumes
            for name, text in self.volumes[volume].files.items()
        }
        return {**box.files, **mounted}

    def put(self, box: Box, path: str, text: str) -> None:
        """Write a file into a container, or into the volume mounted at that path."""
        place = PurePosixPath(path)
        for mount, volume in box.mounts.items():
            if place.is_relative_to(mount):
                self.volumes[volume].files[str(place.relative_to(mount))] = text
                return
        box.files[path] = text


def full(reference: str) -> str:
    """A reference with its tag."""
    return reference if ":" in reference.rsplit("/", 1)[-1] or "@" in reference else f"{reference}:latest"


def _choices(port: Published) -> range:
    return range(port.first, port.last + 1) if port.first else range(_FIRST_EPHEMERAL, 65536)


def _overlap(one: str, other: str) -> bool:
    return one == other or one in _WILDCARDS or other in _WILDCARDS
