"""The Docker engine, through the Docker SDK's low-level client: one request per call, plain answers."""

from __future__ import annotations

import http.client
import re
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

from moorage import bounded
from moorage.adapters.docker_context import DEFAULT, ChosenEngine
from moorage.adapters.engine.archive import archive_of
from moorage.adapters.engine.connecting import PatientClient
from moorage.adapters.engine.exec import End, exit_code_of, output_of
from moorage.adapters.engine.left_processes import MARK, end_left, new_mark
from moorage.adapters.framing import every_call
from moorage.adapters.patience import patient_s
from moorage.errors import EngineError, EngineUnavailableError, ImageError, MoorageError, PortTakenError, said
from moorage.interfaces import Engine
from moorage.model.definition import HealthCheck, RestartPolicy
from moorage.model.engine import EnginePlace
from moorage.model.image import StoredImage
from moorage.model.state import Attachment, BoundPort, Container, Observed, VolumeOptions
from moorage.rules import disk, engines, labels, patience
from moorage.rules.excerpts import end_of
from moorage.settings import Settings

T = TypeVar("T")

_PORT_TAKEN = re.compile(r"(?i:port is already allocated|ports are not available)|address already in use")
"""The last is the system's own sentence; with a capital, Docker says it of an address on a network."""
_ADDRESS_TAKEN = re.compile(r"Address already in use|requested ip address \S+ is already allocated")
"""What Docker (libnetwork) and Podman (netavark) say of it."""
_NANOSECOND = 1e-9
_NEVER = "0001-01-01"
_NAMELESS = "<none>:<none>"


_BROKEN_OFF = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException)
"""What the layers below the SDK raise when an answer is late, cut off or garbled."""
_SENSELESS = (ValueError, LookupError, TypeError, AttributeError, struct.error)
"""What comes of an answer in which something else stands than an engine says."""
_CONNECT_PAUSE_S = 0.2
_END_BYTES = 4096
"""Of the output of a program that is run in a container: it is told what was last said."""
_LOG_BYTES = 16 << 20
"""Of a log: reports show some hundred lines of it, but a line has as many bytes as a service likes."""


def _is_busy(error: Exception) -> bool:
    """Whether the engine was there and did not answer in time, or could not take one more connection."""
    said = str(error)
    return "timed out" in said or "Resource temporarily unavailable" in said


@every_call(lambda engine: engine.translating(), but=("speaking", "translating", "unavailable"))
class DockerEngine(Engine):
    """`Engine` by the Docker SDK. Safe to call from many threads."""

    def __init__(
        self,
        settings: Settings,
        on_wait: Callable[[str], None] = lambda _words: None,
        chosen: ChosenEngine | None = None,
    ) -> None:
        """`on_wait` is told what it waits for longer than usual. `chosen` None: what the process is told when asked."""
        self._settings = settings
        self._on_wait = on_wait
        self._chosen = chosen or ChosenEngine()
        self._connected: PatientClient | None = None
        self._identity: str | None = None
        self._own_network: bool | None = None

    @property
    def address(self) -> str:
        """Address of the engine; where its context is gone, what Docker would use without one."""
        try:
            return self._chosen.endpoint.address
        except EngineUnavailableError:
            return DEFAULT

    def ping(self) -> str:
        with self.speaking():
            return str(self.client.version()["Version"])

    def product(self) -> str:
        return self.client.product

    def is_rootless(self) -> bool:
        if self.product() == engines.DOCKER:
            return self.client.is_rootless
        if self._own_network is None:
            with self.speaking():
                said = self.client.info()
            self._own_network = any("rootless" in str(one) for one in said.get("SecurityOptions") or ())
        return self._own_network

    def has_limits(self) -> bool:
        if not self.is_rootless():  # root's engine always has them
            return True
        with self.speaking():
            return str(self.client.info().get("CgroupDriver")) != "none"

    def place(self) -> EnginePlace:
        found = self._chosen.endpoint
        return EnginePlace(address=found.address, context=found.context, machine=found.machine)

    def identity(self) -> str:
        if self._identity is None:
            with self.speaking():
                said = self.client.info()
            # The id alone is that of all engines of a machine up to version 22, and of a machine and its copy.
            parts = [str(said.get(key) or "") for key in ("ID", "Name", "DockerRootDir")]
            self._identity = " ".join(parts) if parts[0] else ""
        return self._identity

    def observe(self, stack: str) -> Observed:
        found = self._observed([stack], f"{labels.COMPOSE_PROJECT}={stack}")[stack]
        if isinstance(found, EngineError):
            raise found
        return found

    def observe_each(self, stacks: Collection[str]) -> dict[str, Observed | EngineError]:
        return self._observed(stacks, labels.COMPOSE_PROJECT)

    def _observed(self, stacks: Collection[str], label: str) -> dict[str, Observed | EngineError]:
        """`label`: what containers and volumes of these stacks have, and perhaps those of others."""
        listed = self._listed([label])
        boxes = {
            stack: self._apart(self._containers, [one for one in listed if _is_of(one, stack)]) for stack in stacks
        }
        with self.speaking():
            networks = self.client.networks()
            volumes = self.client.volumes(filters={"label": [label]})["Volumes"] or []
        subnets = {network["Name"]: _subnets(network) for network in networks}
        put_together = partial(_observed, networks, volumes, network_ids=_ids_by_name(networks), subnets=subnets)
        return {
            stack: its if isinstance(its, EngineError) else self._apart(put_together, stack, *its)
            for stack, its in boxes.items()
        }

    def _apart(self, call: Callable[..., T], *arguments: Any) -> T | EngineError:
        """What a call about one stack comes to: its error is that stack's, but not that the engine does not answer."""
        try:
            with self.translating():
                return call(*arguments)
        except EngineUnavailableError:
            raise
        except EngineError as error:
            return error

    def containers(self, stack: str, service: str) -> tuple[Container, ...]:
        chosen = [f"{labels.COMPOSE_PROJECT}={stack}", f"{labels.COMPOSE_SERVICE}={service}"]
        found = (one for one in self._containers(self._listed(chosen))[0] if _kind(one.labels) == _LASTING)
        return tuple(sorted(found, key=lambda c: c.number))

    def init_containers(self, stack: str, service: str) -> tuple[Container, ...]:
        chosen = [f"{labels.COMPOSE_PROJECT}={stack}", f"{labels.COMPOSE_SERVICE}={service}", labels.COMPOSE_HOOK]
        return tuple(sorted(self._containers(self._listed(chosen))[0], key=lambda c: c.number))

    def _listed(self, chosen: list[str]) -> Sequence[Mapping[str, Any]]:
        with self.speaking():
            listed: Sequence[Mapping[str, Any]] = self.client.containers(all=True, filters={"label": chosen})
        return listed

    def _containers(self, listed: Sequence[Mapping[str, Any]]) -> tuple[tuple[Container, ...], dict[str, str]]:
        """Containers of every kind, of a list; and those whose labels make no sense: name → what is wrong."""
        wrong = {entry["Id"]: words for entry in listed if (words := labels.problem(entry.get("Labels") or {}))}
        found = (self.inspect(entry["Id"]) for entry in listed if entry["Id"] not in wrong)
        names = {_name_of(entry): wrong[entry["Id"]] for entry in listed if entry["Id"] in wrong}
        return tuple(container for container in found if container), names

    def stacks(self) -> dict[str, dict[str, str]]:
        with self.speaking():
            # A container that `docker compose run` left behind is no stack.
            lasting = [labels.COMPOSE_PROJECT, f"{labels.COMPOSE_ONEOFF}=False"]
            listed = self.client.containers(all=True, filters={"label": lasting})
        return {entry["Labels"][labels.COMPOSE_PROJECT]: entry["Labels"] for entry in listed}

    def stacks_of(self, home: str) -> frozenset[str]:
        chosen = {"label": f"{labels.HOME}={home}"}
        with self.speaking():
            listed = [*self.client.containers(all=True, filters=chosen), *self.client.networks(filters=chosen)]
            listed += self.client.volumes(filters=chosen)["Volumes"] or []
        return frozenset(entry["Labels"][labels.STACK] for entry in listed if labels.STACK in entry["Labels"])

    def inspect(self, container: str) -> Container | None:
        with self.speaking():
            try:
                return _container(self.client.inspect_container(container))
            except NotFound:
                return None

    def published_ports(self) -> frozenset[tuple[int, str]]:
        return frozenset(self.publishers())

    def publishers(self) -> dict[tuple[int, str], str]:
        with self.speaking():
            listed = self.client.containers()
        return {
            (port["PublicPort"], port["Type"]): _name_of(entry)
            for entry in listed
            for port in entry["Ports"] or ()
            if "PublicPort" in port
        }

    def start(self, container: str) -> None:
        with self.speaking():
            try:
                self.client.start(container)
            except APIError as error:
                if _PORT_TAKEN.search(text := _explanation(error)):
                    message = f"{container}: {text}"
                    raise PortTakenError(message, port=port_in(text)) from None
                if _ADDRESS_TAKEN.search(text):
                    message = f"{container}: another container has its address on a network: {text}"
                    hint = "`docker network inspect NETWORK` says who; remove that one, or choose another address."
                    raise EngineError(message, hint=hint, status=error.status_code) from None
                raise

    def stop(self, container: str, grace_s: float) -> None:
        with self.speaking(), _ignoring_missing():
            self.client.stop(container, timeout=round(grace_s))

    def kill(self, container: str, signal: str = "SIGKILL") -> None:
        with self.speaking(), _ignoring_missing(409):
            self.client.kill(container, signal)

    def remove(self, container: str, volumes: bool) -> None:
        with self.speaking(), _ignoring_missing(409):
            self.client.remove_container(container, v=volumes, force=True)

    def rename(self, container: str, name: str) -> None:
        with self.speaking():
            self.client.rename(container, name)

    def hold(self, name: str, image: str, labels: Mapping[str, str], volumes: Mapping[str, str]) -> None:
        with self.speaking():
            for volume in volumes.values():  # the engine would create a missing volume, empty
                self.client.inspect_volume(volume)
            binds = self.client.create_host_config(binds=[f"{volume}:{path}" for path, volume in volumes.items()])
            self.client.create_container(image, ["true"], name=name, labels=dict(labels), host_config=binds)

    def remove_network(self, name: str) -> None:
        with self.speaking(), _ignoring_missing():
            if network := self._network(name):
                self.client.remove_network(network["Id"])

    def remove_volume(self, name: str) -> None:
        with self.speaking(), _ignoring_missing():
            self.client.remove_volume(name)

    def owner(self, kind: str, name: str) -> Mapping[str, str]:
        with self.speaking():
            try:
                found = self._network(name) if kind == "network" else self.client.inspect_volume(name)
                return (found or {}).get("Labels") or {}
            except NotFound:
                return {}

    def named(self, kind: str) -> Mapping[str, Mapping[str, str]]:
        with self.speaking():
            if kind == "container":  # a linked container has further names, such as `/other/alias`
                listed = self.client.containers(all=True)
                pairs = ((name[1:], one) for one in listed for name in one["Names"] or () if name.count("/") == 1)
                return {name: one["Labels"] or {} for name, one in pairs}
            things = self.client.networks() if kind == "network" else self.client.volumes()["Volumes"] or []
            return {one["Name"]: one["Labels"] or {} for one in things}

    def _network(self, name: str) -> dict[str, Any] | None:
        """Find a network by its exact name in the list: in a URL, `../volumes/x` would mean another object."""
        return next((network for network in self.client.networks() if network["Name"] == name), None)

    def image(self, reference: str) -> tuple[str, dict[str, str]] | None:
        image = self._image(reference)
        return (image["Id"], (image.get("Config") or {}).get("Labels") or {}) if image is not None else None

    def tagged_at(self, reference: str) -> datetime | None:
        image = self._image(reference)
        return _time((image.get("Metadata") or {}).get("LastTagTime")) if image is not None else None

    def repo_digest(self, reference: str) -> str | None:
        image = self._image(reference)
        return next(iter(image.get("RepoDigests") or ()), None) if image is not None else None

    def _image(self, reference: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._unless_gone(self.client.inspect_image, reference)
        return found

    def _unless_gone(self, ask: Callable[[str], Any], reference: str) -> Any | None:
        """What the engine says of an image. None: there is none.

        Of one that is just being removed, Docker says for a moment `layer does not exist`, as an error of its own. It
        takes the image away before its layers: asked again, it knows none.
        """
        try:
            try:
                return ask(reference)
            except APIError as error:
                if not error.is_server_error():
                    raise
                return ask(reference)
        except NotFound:
            return None

    def load(self, file: Path) -> str:
        """Load the one image of an archive; gives its id. Raises ImageError."""
        try:
            archive = bounded.open_file(file)
        except OSError as error:
            raise ImageError(f"{file}: {error.strerror}", hint="Build it again.") from error
        with archive:
            lines = list(self.client.load_image(archive))  # type: ignore[no-untyped-call]
        found = re.search(r"Loaded image(?: ID)?: (\S+)", "".join(str(line.get("stream", "")) for line in lines))
        image = self.image(found[1]) if found else None
        if image is None:
            message = f"the engine loaded no image: {next((line['error'] for line in lines if 'error' in line), lines)}"
            raise ImageError(message, hint="Is the disk full? `moorage doctor` checks that.")
        return image[0]

    def tag(self, image_id: str, tag: str) -> None:
        repository, _, name = tag.rpartition(":")
        with self.speaking():
            try:
                self.client.tag(image_id, repository, name, force=True)
            except NotFound:
                message = f"image {image_id} is gone"
                raise ImageError(message, image=image_id, hint="`moorage up` creates it again.") from None

    def untag(self, tag: str) -> None:
        with self.speaking(), _ignoring_missing(409):
            self.client.remove_image(tag, noprune=True)

    def tags(self, prefix: str) -> tuple[str, ...]:
        with self.speaking():
            images, product = self.client.images(), self.client.product
        names = {engines.own_name(product, tag) for image in images for tag in image["RepoTags"] or ()}
        return tuple(sorted(name for name in names if name.startswith(prefix)))

    def stored_images(self) -> tuple[StoredImage, ...]:
        with self.speaking():
            product = self.client.product
            used = self._used_images()
            found = (self._stored(one, used, product) for one in self.client.images())
            return tuple(one for one in found if one)

    def _stored(self, listed: Mapping[str, Any], used: Collection[str], product: str) -> StoredImage | None:
        """None: it has gone meanwhile."""
        history = self._unless_gone(self.client.history, listed["Id"])
        if history is None:
            return None
        names = (engines.own_name(product, tag) for tag in listed["RepoTags"] or ())
        return StoredImage(
            image_id=listed["Id"],
            tags=tuple(sorted(name for name in names if name != _NAMELESS)),
            layers=disk.layers((one["Created"], one["CreatedBy"], one["Size"]) for one in reversed(history)),
            in_use=_digits(listed["Id"]) in used,
            tagged_at=self.tagged_at(listed["Id"]),
        )

    def _used_images(self) -> frozenset[str]:
        """Their ids, without the kind of digest."""
        return frozenset(_digits(one["ImageID"]) for one in self.client.containers(all=True))

    def remove_image(self, image_id: str) -> None:
        with self.speaking(), _ignoring_missing(409):
            if _digits(image_id) in self._used_images():  # the engine would refuse only the last name
                return
            image = self._image(image_id) or {}
            for name in (image.get("RepoTags") or ())[1:]:
                self.client.remove_image(name)
            self.client.remove_image(image_id)

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
        with self.speaking():
            mark = new_mark()
            made = self.client.exec_create(
                container,
                list(command),
                user=user,
                workdir=working_dir,
                environment=[*environment, *([f"{MARK}={mark}"] if timeout_s is not None else ())] or None,
                privileged=privileged,
            )
            until = None if timeout_s is None else time.monotonic() + timeout_s
            try:
                output = output_of(self.client, made["Id"], _END_BYTES, timeout_s)
                code = exit_code_of(self.client, made["Id"], until)
            except TimeoutError:
                end_left(self.client, made["Id"], container, mark, user)
                words = f"{' '.join(command)[:200]}: no end within {timeout_s:g} s"
                raise EngineError(words, timed_out=True) from None
        return code, end_of(output, _END_BYTES).decode(errors="replace").strip()

    def logs(self, container: str, tail: int | None) -> str:
        kept = End(_LOG_BYTES)
        with self.speaking():
            try:
                wanted: Any = "all" if tail is None else tail
                for piece in self.client.logs(container, tail=wanted, stream=True, follow=False):
                    kept.add(piece)
            except NotFound:
                return ""
        return end_of(kept.bytes(), _LOG_BYTES).decode(errors="replace")

    def put_file(self, container: str, path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
        with self.speaking():
            self.client.put_archive(container, "/", archive_of(path, content, mode, uid, gid))

    @property
    def client(self) -> PatientClient:
        """The client. Connects on first use, which asks the engine for its API version."""
        if self._connected is None:
            self._connected = self._connect()
        return self._connected

    def _connect(self) -> PatientClient:
        """Connect; an engine that is too busy to answer is asked again for as long as this machine is busy."""
        began, limit_s = time.monotonic(), self._settings.connect_timeout_s
        while True:
            try:
                client = PatientClient(self._chosen.endpoint, limit_s)
            except MoorageError:
                raise
            except (DockerException, *_BROKEN_OFF, OSError, *_SENSELESS) as error:
                waited_s = time.monotonic() - began
                if not _is_busy(error) or waited_s >= patient_s(self._settings.connect_timeout_s):
                    raise self.unavailable(error) from None
                self._on_wait(patience.words(f"the engine at {self.address} has not answered", waited_s))
                limit_s = max(self._settings.connect_timeout_s, waited_s)
                time.sleep(_CONNECT_PAUSE_S)
            else:
                client.limit_s, client.patient = self._settings.engine_timeout_s, True
                return client

    def unavailable(self, error: Exception) -> EngineUnavailableError:
        """The error for an engine that does not answer."""
        cause = str(error)
        if found := re.search(
            r"Error\((?:\d+, )?['\"]([^'\"]+)['\"]\)\)*$", cause
        ):  # ('Connection aborted.', PermissionError(13, '…'))
            cause = found[1] if found[1].startswith("ssh:") else found[1].lower()
        hint = "Start it (`scripts/engine` of the project, or `systemctl start docker`), or set DOCKER_HOST."
        if context := self._context():
            hint = f"It is that of the context {context!r}: `docker context use` chooses another one."
        if cause == "permission denied":
            hint = (
                "Add your user to the group `docker` (`sudo usermod -aG docker NAME`, then log in again), or be root."
            )
        message = f"no Docker engine answers at {self.address}: {cause}"
        return EngineUnavailableError(message, hint=hint, address=self.address)

    def _context(self) -> str | None:
        try:
            return self._chosen.endpoint.context
        except EngineUnavailableError:
            return None

    @contextmanager
    def speaking(self) -> Iterator[docker.APIClient]:
        """The client; turns errors of the SDK into Moorage's."""
        with self.translating():
            yield self.client

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Errors of the SDK, of the connection, and of answers that make no sense become ours."""
        try:
            yield
        except MoorageError:
            raise
        except APIError as error:
            raise EngineError(_explanation(error), status=error.status_code) from None
        except DockerException as error:
            raise EngineError(str(error)) from None
        except (*_BROKEN_OFF, OSError) as error:  # many of the former are OSErrors or ValueErrors too
            raise self.unavailable(error) from error
        except _SENSELESS as error:
            raise EngineError(f"the engine's answer makes no sense: {said(error)}") from error


@contextmanager
def _ignoring_missing(*statuses: int) -> Iterator[None]:
    """Ignore errors about objects that are gone: there is nothing left to stop or remove."""
    try:
        yield
    except NotFound:
        return
    except APIError as error:
        if error.status_code not in statuses:
            raise


def _digits(image_id: str) -> str:
    """Podman leaves out the kind of digest."""
    return image_id.removeprefix("sha256:")


def _explanation(error: APIError) -> str:
    return str(error.explanation or error)


def port_in(text: str) -> int | None:
    """The port in an error message of the engine. None: it names no port."""
    numbers = re.findall(r"(?:\d|\]|^|\s):(\d{1,5})\b", text)
    return int(numbers[0]) if numbers else None


_LASTING, _INIT, _ONE_OFF = "lasting", "init", "one-off"


def _kind(marks: Mapping[str, str]) -> str:
    """What a container of a Compose project is there for: a service, its start, one command. Empty: none of them."""
    if labels.COMPOSE_HOOK in marks:
        return _INIT
    return {"False": _LASTING, "True": _ONE_OFF}.get(marks.get(labels.COMPOSE_ONEOFF, ""), "")


def _name_of(entry: Mapping[str, Any]) -> str:
    """Name of a container in a list; the id of one that is just being removed, and has none any more."""
    return str((entry.get("Names") or [entry["Id"][:12]])[0]).lstrip("/")


def _container(raw: Mapping[str, Any]) -> Container:
    state, config, network = raw["State"], raw["Config"], raw["NetworkSettings"]
    marks = config.get("Labels") or {}
    ended = state["Status"] in ("exited", "dead", "restarting")
    policy = (raw.get("HostConfig") or {}).get("RestartPolicy") or {}
    return Container(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        service=marks.get(labels.COMPOSE_SERVICE, ""),
        number=labels.number_of(marks),
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status"),
        exit_code=state["ExitCode"] if ended else None,
        oom_killed=bool(state.get("OOMKilled")),
        restarts=raw.get("RestartCount", 0),
        restart_policy=RestartPolicy(policy.get("Name") or "no"),
        most_restarts=policy.get("MaximumRetryCount") or 0,
        program=(raw.get("Path") or "", *(raw.get("Args") or ())),
        image_id=raw["Image"],
        digest=marks.get(labels.DIGEST, ""),
        ports=tuple(_bound_ports(network.get("Ports") or {})),
        volumes={m["Destination"]: m["Name"] for m in raw.get("Mounts") or () if m.get("Type") == "volume"},
        addresses=tuple(n["IPAddress"] for n in (network.get("Networks") or {}).values() if n.get("IPAddress")),
        networks=_attachments(network.get("Networks") or {}),
        created_at=_time(raw.get("Created")),
        started_at=_time(state.get("StartedAt")),
        finished_at=_time(state.get("FinishedAt")),
        health_check=_health_check(config),
        error=state.get("Error") or "",
        labels=marks,
    )


def _attachments(networks: Mapping[str, Any]) -> dict[str, Attachment]:
    return {
        name: Attachment(id=one.get("NetworkID") or "", aliases=tuple(one.get("Aliases") or ()))
        for name, one in networks.items()
    }


def _is_of(thing: Mapping[str, Any], stack: str) -> bool:
    """Whether a thing of a list belongs to a stack."""
    return (thing.get("Labels") or {}).get(labels.COMPOSE_PROJECT) == stack


def _observed(
    networks: Sequence[Mapping[str, Any]],
    volumes: Sequence[Mapping[str, Any]],
    stack: str,
    containers: tuple[Container, ...],
    unreadable: Mapping[str, str],
    **of_all_networks: Any,
) -> Observed:
    """What there is of one stack. `networks`, `volumes`: with those of others."""
    volumes = [one for one in volumes if _is_of(one, stack)]
    return Observed(
        stack=stack,
        containers=tuple(one for one in containers if _kind(one.labels) == _LASTING),
        init_containers=tuple(one for one in containers if _kind(one.labels) == _INIT),
        networks=tuple(sorted(one["Name"] for one in networks if _is_of(one, stack))),
        volumes=tuple(sorted(volume["Name"] for volume in volumes)),
        volume_options={volume["Name"]: _volume_options(volume) for volume in volumes},
        one_offs=tuple(one for one in containers if _kind(one.labels) == _ONE_OFF),
        unreadable=tuple(labels.senseless(name, stack, words) for name, words in unreadable.items()),
        **of_all_networks,
    )


def _subnets(network: Mapping[str, Any]) -> tuple[str, ...]:
    configs = (network.get("IPAM") or {}).get("Config") or ()
    return tuple(one["Subnet"] for one in configs if one.get("Subnet"))


def _ids_by_name(networks: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for network in networks:
        found[network["Name"]] = (*found.get(network["Name"], ()), network["Id"])
    return found


def _volume_options(volume: Mapping[str, Any]) -> VolumeOptions:
    return VolumeOptions(
        driver=volume.get("Driver") or "local",
        options=volume.get("Options") or {},
        labels=volume.get("Labels") or {},
    )


def _bound_ports(ports: Mapping[str, Any]) -> Iterator[BoundPort]:
    for target, bindings in sorted(ports.items()):
        number, _, protocol = target.partition("/")
        for binding in bindings or ():
            yield BoundPort.model_validate(
                {
                    "target": int(number),
                    "protocol": protocol or "tcp",
                    "host_ip": binding["HostIp"],
                    "published": int(binding["HostPort"]),
                }
            )


def _health_check(config: Mapping[str, Any]) -> HealthCheck | None:
    """The health check as merged by the engine from image and definition. Zero means the engine's default."""
    check = config.get("Healthcheck") or {}
    test = check.get("Test") or []
    if not test or test[0] == "NONE":
        return None
    shell = config.get("Shell") or ["/bin/sh", "-c"]
    command = [*shell, *test[1:]] if test[0] == "CMD-SHELL" else test[1:]
    return HealthCheck(
        command=tuple(command),
        interval_s=check.get("Interval", 0) * _NANOSECOND or 30.0,
        timeout_s=check.get("Timeout", 0) * _NANOSECOND or 30.0,
        start_period_s=check.get("StartPeriod", 0) * _NANOSECOND,
        start_interval_s=check.get("StartInterval", 0) * _NANOSECOND or 5.0,
        retries=check.get("Retries") or 3,
    )


def _time(text: str | None) -> datetime | None:
    """The engine's time with nanoseconds. None: never."""
    if not text or text.startswith(_NEVER):
        return None
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text)).astimezone(UTC)
