"""The windows to the world, as protocols. `world.py` says which adapter stands behind each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from moorage.model.definition import Config, Source
from moorage.model.event import Event
from moorage.model.generation import GenerationRecord
from moorage.model.image import Availability, BuilderName, BuildSpec, BuiltImage, Survey
from moorage.model.lease import Lease, LeaseKey, Request
from moorage.model.log import LogRecord, LogSpan
from moorage.model.state import Container, Observed, RunRecord, StackRecord
from moorage.model.usage import Sample
from moorage.settings import Settings
from moorage.windows import Volumes

Line = Callable[[str], None]
"""Receives output line by line, without line end."""


class Clock(Protocol):
    """Time, so that tests can hold it."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that only grow."""


class Compose(Protocol):
    """The Compose CLI: reads definitions, creates containers, builds and pulls images."""

    def version(self) -> str:
        """Version of the CLI, `5.6.1`. Raises ComposeUnavailableError."""

    def config(self, source: Source, name: str | None, environment: Mapping[str, str]) -> Config:
        """The canonical project. `name` None: Compose derives it. Raises DefinitionError."""

    def raw_config(self, source: Source) -> Config:
        """The project as written, variables not replaced: for `x-moorage` of services and for port variables."""

    def interpolate(self, source: Source, values: Config, environment: Mapping[str, str]) -> Config:
        """`values` with their variables replaced by Compose's own rules."""

    def variables(self, source: Source, name: str | None = None) -> dict[str, str]:
        """The environment that Compose interpolates with (process, env files). `name` None: Compose derives it."""

    def create(self, stack: str, file: Path, services: Sequence[str], recreate: bool, on_line: Line) -> None:
        """Create what `file` defines; changed containers are re-created. Empty `services`: all. Raises EngineError."""

    def build(self, stack: str, file: Path, service: str, on_line: Line) -> None:
        """Build the image of one service. Raises ImageError."""

    def pull(self, stack: str, file: Path, service: str, on_line: Line) -> None:
        """Pull the image of one service. Raises ImageError."""

    def abort(self) -> None:
        """End the builds and pulls under way: their calls raise ImageError."""

    def end_strays(self, stack: str) -> None:
        """End what calls of a Moorage that died still do for a stack; to be called with the stack's lock held."""


class ImageBuilder(Protocol):
    """Builds images: Compose or Dagger. What comes of it is the same in use: tag, labels, user, entry point."""

    def preflight(self) -> Availability:
        """Whether it can be used, found out within 5 s and without an effect. Raises nothing of Moorage's."""

    def build(self, spec: BuildSpec, on_line: Line) -> BuiltImage:
        """Build one image and have it on the engine under its tag.

        Raises ImageError; UnsupportedByBackendError for a field that it cannot honour; BackendUnavailableError. After
        an error or `abort` neither a process, a temporary file nor an image without a name is left.
        """

    def abort(self) -> None:
        """End the builds under way: their calls raise ImageError."""


class Engine(Protocol):
    """The Docker engine: looks, starts, stops, removes. All names are names or ids of containers."""

    def ping(self) -> str:
        """Version of the engine. Raises EngineUnavailableError."""

    def observe(self, stack: str) -> Observed:
        """What is there of one stack, ours or not: all that bears Compose's project label."""

    def containers(self, stack: str, service: str) -> tuple[Container, ...]:
        """The containers of one service, by replica number."""

    def stacks(self) -> dict[str, dict[str, str]]:
        """Names of all Compose projects on the engine, ours and others', each with the labels of one container."""

    def stacks_of(self, home: str) -> frozenset[str]:
        """Names of the stacks that one `$MOORAGE_HOME` has containers, networks or volumes of on the engine."""

    def inspect(self, container: str) -> Container | None:
        """One container as it is now. None: it does not exist."""

    def published_ports(self) -> frozenset[tuple[int, str]]:
        """(port, protocol) of every port published by a running container."""

    def publishers(self) -> Mapping[tuple[int, str], str]:
        """The same → name of that container."""

    def start(self, container: str) -> None:
        """Start; no effect on a running one. Raises PortTakenError, EngineError."""

    def stop(self, container: str, grace_s: float) -> None:
        """SIGTERM (or the image's stop signal), SIGKILL after `grace_s`; no effect on a stopped one."""

    def kill(self, container: str, signal: str = "SIGKILL") -> None:
        """Send a signal."""

    def remove(self, container: str, volumes: bool) -> None:
        """Remove by force; `volumes`: its anonymous ones too. No effect if it is gone."""

    def rename(self, container: str, name: str) -> None:
        """Give a container another name. Raises EngineError: it is gone, or somebody has the name."""

    def hold(self, name: str, image: str, labels: Mapping[str, str], volumes: Mapping[str, str]) -> None:
        """Create a container that only holds volumes (path → name). Raises EngineError, also when one of them is gone.

        It is there for Compose to replace: the replacement inherits the anonymous volumes.
        """

    def remove_network(self, name: str) -> None:
        """Remove a network. No effect if it is gone."""

    def remove_volume(self, name: str) -> None:
        """Remove a volume. No effect if it is gone."""

    def owner(self, kind: str, name: str) -> Mapping[str, str]:
        """The labels of a `network` or `volume`. Empty: none, or it does not exist."""

    def image(self, reference: str) -> tuple[str, dict[str, str]] | None:
        """(id, labels) of an image. None: not there."""

    def repo_digest(self, reference: str) -> str | None:
        """`name@sha256:…` by which a registry knows an image. None: none does, or it is not here."""

    def load(self, file: Path) -> str:
        """Load the one image of an archive (as `docker save` writes them); gives its id. Raises ImageError."""

    def tag(self, image_id: str, tag: str) -> None:
        """Give an image a name. Raises ImageError if the image is gone."""

    def untag(self, tag: str) -> None:
        """Take a name away (and the image with its last name). No effect if it is gone or in use."""

    def tags(self, prefix: str) -> tuple[str, ...]:
        """All image tags that start with `prefix`."""

    def exec(
        self,
        container: str,
        command: Sequence[str],
        *,
        user: str = "",
        working_dir: str | None = None,
        environment: Sequence[str] = (),
        privileged: bool = False,
    ) -> tuple[int, str]:
        """Run a command in a running container; exit code and the end of its output. Raises EngineError."""

    def logs(self, container: str, tail: int | None) -> str:
        """What it wrote, both streams. `tail` None: all."""

    def put_file(self, container: str, path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
        """Write one file into a container, also before its start."""


class Streams(Protocol):
    """What goes on inside containers while they run."""

    def log(
        self, container: str, span: LogSpan, *, follow: bool = False, on_open: Callable[[Callable[[], None]], None]
    ) -> Iterator[LogRecord]:
        """The entries of a container's log, in its order; empty if it is gone. Raises EngineError.

        `follow`: goes on until the container ends. `on_open` receives what ends it from another thread.
        """

    def sample(self, container: str) -> Sample | None:
        """What the engine has counted for a container up to now. None: it does not run, or is gone."""


class Prober(Protocol):
    """Looks at a network port from this machine."""

    def tcp(self, host: str, port: int, timeout_s: float) -> str | None:
        """None: something accepts and keeps the connection. Else why not."""

    def http(self, url: str, timeout_s: float, status: int | None) -> str | None:
        """None: answered as expected (`status` None: 200 to 399). Else why not."""

    def holder_of(self, port: int, protocol: str) -> str | None:
        """Name and pid of the process that holds a port. None: it cannot be read."""

    def bindable(self, port: int, protocol: str, host_ip: str) -> bool:
        """True: nothing on this machine listens on the port, on IPv4 or IPv6, at any address."""


class Store(Protocol):
    """The registry: stacks, generations, leases, runs, timings. Every method is one transaction."""

    def lease(
        self,
        requests: Sequence[Request],
        *,
        run: str | None,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        strict: bool = False,
        complete: bool = False,
        now: datetime,
    ) -> tuple[Lease, ...]:
        """Lease a port for each request, in one write transaction, in their order.

        A key that has a lease keeps it (sticky). `taken` are (port, protocol) that the engine publishes now; the ports
        of leases that the same stack holds already do not count as taken. `strict`: the wanted port or PortError.
        `complete`, for runs: these are all requests of their stack, so a lease that none is about can be inherited.
        """

    def preview(
        self,
        requests: Sequence[Request],
        *,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        strict: bool = False,
        complete: bool = False,
        now: datetime,
    ) -> tuple[Lease, ...]:
        """What `lease` would answer, with nothing stored."""

    def leases(self, stack: str | None = None) -> tuple[Lease, ...]:
        """The leases of a stack, by port. None: of all stacks."""

    def release(self, keys: Sequence[LeaseKey]) -> None:
        """Give ports back; a key without a lease is no error."""

    def release_run(self, run: str) -> tuple[Lease, ...]:
        """Give back what an unfinished run acquired, and say what that was."""

    def restore(self, leases: Sequence[Lease]) -> tuple[Lease, ...]:
        """Put leases on record as they are, after the file was lost; those whose key or port is held are left out."""

    def commit_run(self, run: str) -> None:
        """What the run acquired is held from now on (until released)."""

    def commit(
        self,
        run: RunRecord,
        stack: StackRecord,
        generations: Sequence[GenerationRecord],
        released: Sequence[LeaseKey],
    ) -> None:
        """End a run well, in one write transaction: all of it is on record afterwards, or nothing.

        Stack and generations are as given, the run's leases are held, `released` are given back, the run is closed.
        """

    def stack(self, name: str) -> StackRecord | None:
        """One stack. None: not on record."""

    def stacks(self) -> tuple[StackRecord, ...]:
        """All stacks, by name."""

    def save_stack(self, record: StackRecord) -> None:
        """Add or replace."""

    def forget_stack(self, name: str) -> None:
        """Remove the stack with its generations and timings; leases stay until they are released."""

    def generations(self, stack: str) -> tuple[GenerationRecord, ...]:
        """All on record, newest first."""

    def save_generation(self, record: GenerationRecord) -> None:
        """Add or replace by (stack, number)."""

    def forget_generation(self, stack: str, number: int) -> None:
        """Remove one; no error if it is gone."""

    def open_run(self, record: RunRecord) -> None:
        """Write a run down before its first effect."""

    def update_run(self, record: RunRecord) -> None:
        """Replace the record of a run."""

    def close_run(self, run: str, outcome: str, now: datetime) -> None:
        """The run has ended."""

    def unfinished_runs(self, stack: str | None = None) -> tuple[RunRecord, ...]:
        """Runs without an end, oldest first."""

    def runs(self, stack: str | None, limit: int = 50) -> tuple[RunRecord, ...]:
        """The last runs, newest first. None: of all stacks."""

    def add_timing(self, stack: str, service: str, generation: int, phase: str, seconds: float, now: datetime) -> None:
        """How long a phase (`create`, `start`, `ready`) of a service took."""

    def timings(self, stack: str, service: str, phase: str, limit: int = 10) -> tuple[float, ...]:
        """The last ones, newest first."""

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged file was put, until `rebuilt` is called. None: nothing was lost."""

    def rebuilt(self) -> None:
        """What was lost with the damaged file is on record again."""

    def close(self) -> None:
        """Close the file."""


class Files(Protocol):
    """Generation files and failure reports of `$MOORAGE_HOME`; each 0600, written whole or not at all."""

    def write(self, name: str, text: str) -> Path:
        """Write under a relative name and give the path. Raises HomeError."""

    def read(self, name: str) -> str | None:
        """The text. None: there is no such file."""

    def remove(self, name: str) -> None:
        """Remove; no error if it is gone."""

    def names(self, folder: str) -> Iterator[str]:
        """Relative names of the files in a folder."""

    def folders(self, folder: str) -> Iterator[str]:
        """Names of the folders in a folder, without the folder's own."""

    def drop(self, folder: str) -> None:
        """Remove a folder with the files in it; no error if it is gone. Folders below it keep it."""


class Contexts(Protocol):
    """Build contexts on disk."""

    def digest(self, build: Config) -> str:
        """Digest of a `build` section and of all files it can see. Raises DefinitionError: a context is missing."""

    def survey(self, context: Path) -> Survey | None:
        """What lies in a context without a Dockerfile. None: there is one, or no such directory."""


class Lock(Protocol):
    """The lock of one stack. The kernel frees it when its process ends, however that happens."""

    def acquire(self, operation: str, timeout_s: float, on_wait: Line | None = None) -> object:
        """Take it. Raises BusyError when another run holds it for longer than `timeout_s`."""

    def release(self) -> None:
        """Give it back; no error if it is not held."""

    def held(self) -> Mapping[str, object] | None:
        """Who holds it: operation, pid, since. None: nobody."""


@dataclass(frozen=True)
class World:
    """All that work is done with. `world.py` makes one; tests make others."""

    engine: Engine
    streams: Streams
    volumes: Volumes
    compose: Compose
    contexts: Contexts
    store: Store
    files: Files
    prober: Prober
    clock: Clock
    settings: Settings
    home: str
    """Short name of this `$MOORAGE_HOME`, for labels: several may share one engine."""
    lock: Callable[[str], Lock]
    place: Callable[[Path], tuple[str | None, str | None, bool]]
    """Of a directory: git repository, branch, and whether it is a linked worktree."""
    builder: Callable[[World, BuilderName], ImageBuilder]
    """The builder of a name, over the engine and the Compose of that world."""
    censor: Callable[[Config, Sequence[str]], Callable[[Any], Any]] = field(
        default=lambda _config, _more: lambda data: data
    )
    """For a definition (and more secret values): what hides its secrets in a text or in data made of texts."""
    emit: Callable[[Event], None] = field(default=lambda _event: None)
    """Where events go."""
