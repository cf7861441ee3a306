"""A throw-away stack: services that live in a session of another engine, for one command."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from moorage import bounded
from moorage.errors import DefinitionError, EngineError, MoorageError, NotReadyError
from moorage.interfaces import World
from moorage.model.definition import Check, Definition, PortMapping, Service
from moorage.model.image import Availability, BuilderName, BuildSpec
from moorage.model.lease import Lease
from moorage.model.sandbox import SandboxService
from moorage.model.state import BoundPort, ServiceStatus, StackState, StackStatus
from moorage.rules import building, composing, throwaway
from moorage.rules import images as decide
from moorage.work.definitions import generations, resolve
from moorage.work.definitions.request import UpRequest
from moorage.work.runs import images

_PAUSE_S = 0.1
_PROBE_S = 2.0
_NO_FILE = Path()
Tell = Callable[[str], None]


class Sandbox(Protocol):
    """A session in which services run. Dagger's adapter is `adapters/dagger/sandbox.py`."""

    def preflight(self, *, expose: bool) -> Availability:
        """Whether it can be used, and unless `expose` with ports that only this machine reaches; has no effects."""

    def open(self, *, expose: bool) -> None:
        """Open the session. `expose`: its ports may be open to the network. Raises BackendUnavailableError."""

    def start(
        self,
        service: SandboxService,
        build: BuildSpec | None,
        bound: dict[str, str],
        tunnels: Sequence[tuple[int, int]],
        ready_s: float,
    ) -> None:
        """Start a service and its `tunnels` (port inside, loopback port). `build` None: it has an image.

        Returns when its health check has succeeded, or without one its ports accept connections. Raises RunError;
        NotReadyError with its output if it ends before, or `ready_s` have passed since it had an image.
        """

    def run(self, service: SandboxService, build: BuildSpec | None, bound: dict[str, str]) -> str:
        """Run a one-shot to completion; returns its output. Raises RunError."""

    def stop(self, name: str, grace_s: float) -> bool:
        """Close the tunnels of a service, then stop it. False: it had to be killed. Raises MoorageError."""

    def log(self, service: str | None = None) -> list[str]:
        """The last known log lines of a service. None: of the session."""

    def close(self) -> None:
        """End the session and everything in it; no error if it is closed."""


class Throwaway:
    """One throw-away stack, from its leases to its end."""

    def __init__(self, world: World, sandbox: Sandbox, request: UpRequest, *, expose: bool = False) -> None:
        self.world = world
        self.expose = expose
        """Whether published ports may be open to the network: as asked, or as the definition says."""
        self.sandbox = sandbox
        self.request = request
        self.stack = str(request.name)
        self.started: list[str] = []
        self._leases: tuple[Lease, ...] = ()
        self._ready_s: dict[str, float] = {}
        self._hide = generations.censor(world, self.stack)

    def prepare(self) -> None:
        """Read the definition, refuse unsupported keys, check the sandbox, lease the ports.

        Raises DefinitionError, UnsupportedByBackendError, BackendUnavailableError, PortError.
        """
        resolved = resolve.resolve_as(self.world, self.request, self.stack)
        definition = resolved.definition
        throwaway.services_of(definition)
        for name, service in definition.services.items():
            if service.builds:
                building.refuse_unhonoured(self._build(definition, name), BuilderName.DAGGER)
        published = any(service.ports for service in definition.services.values())
        self.expose = self.expose or definition.dagger_expose or not published
        found = self.sandbox.preflight(expose=self.expose)
        if not found.usable:
            raise images.unavailable(found)
        self._leases = self._lease(definition)
        self.definition = resolve.with_leased_variables(self.world, resolved, self._leases)
        self.parts = throwaway.services_of(self.definition)
        self._hide = generations.censor(self.world, self.stack, self.definition)

    def log(self) -> list[str]:
        """What Dagger has logged last, secrets hidden."""
        return list(self._hide(self.sandbox.log()))

    def up(self, tell: Tell) -> StackStatus:
        """Start all services, each when its dependencies are ready. After a failure, call `down`.

        Raises the errors of `prepare`, and RunError, NotReadyError; secrets are hidden in them.
        """
        self.prepare()
        try:
            return self._up(tell)
        except MoorageError as error:
            error.censor(self._hide)
            raise

    def _up(self, tell: Tell) -> StackStatus:
        for notice in throwaway.notices(self.definition, exposed=self.expose):
            tell(f"note: {notice}")
        self.sandbox.open(expose=self.expose)
        by_name = {part.name: part for part in self.parts}
        for part in self.parts:
            began = time.monotonic()
            self._bring_up(part, throwaway.bindings(part, by_name))
            self._ready_s[part.name] = round(time.monotonic() - began, 3)
            tell(f"{part.name}: {'completed' if part.one_shot else 'ready'} ({self._ready_s[part.name]:.2f} s)")
        return self._status()

    def down(self, tell: Tell) -> None:
        """Stop all services in reverse order, close the session, release the ports: each even if one before failed."""
        try:
            for name in reversed(self.started):
                tell(f"{name}: {self._stopped(name)}")
        finally:
            try:
                self.sandbox.close()
            finally:
                self.world.store.release_all(self.stack)

    def _stopped(self, name: str) -> str:
        """Stop a service; returns what became of it."""
        grace_s = self.definition.services[name].stop_grace_s
        grace_s = float(self.world.settings.stop_grace_s) if grace_s is None else grace_s
        try:
            if self.sandbox.stop(name, grace_s):
                return "stopped"
        except MoorageError as error:
            error.censor(self._hide)
            return f"not stopped, the end of the session ends it: {error}"
        return f"killed: it ignored SIGTERM for {grace_s:g} s (`init: true` passes signals on)"

    def _lease(self, definition: Definition) -> tuple[Lease, ...]:
        taken: frozenset[tuple[int, str]] = frozenset()
        with suppress(EngineError):  # the machine does not need a Docker engine for this
            taken = self.world.engine.published_ports()
        return self.world.store.lease(
            composing.requests_of(definition),
            run=None,
            taken=taken,
            bindable=self.world.prober.bindable,
            now=self.world.clock.now(),
        )

    def _bring_up(self, part: SandboxService, bound: dict[str, str]) -> None:
        part = _with_contents(part)
        maker = decide.makers(self.definition).get(decide.reference_of(self.definition, part.name))
        build = self._build(self.definition, maker) if maker else None
        if part.one_shot:
            self.sandbox.run(part, build, bound)
            return
        ports = self._ports(part.name)
        self.started.append(part.name)  # before its start, so that an interrupted start is stopped too
        limit_s = self._limit_s(part)
        self.sandbox.start(part, build, bound, [(port.target, port.published) for port in ports], limit_s)
        self._wait(self.definition.services[part.name], ports, limit_s)

    def _build(self, definition: Definition, service: str) -> BuildSpec:
        here = (_NO_FILE, definition.config)
        return images.spec_of(self.world, definition, service, here, BuilderName.DAGGER)

    def _ports(self, service: str) -> tuple[BoundPort, ...]:
        leases = {lease.key: lease for lease in self._leases}

        def bound(port: PortMapping) -> BoundPort:
            lease = leases[composing.lease_key(self.stack, port)]
            return BoundPort(
                target=port.target, protocol=port.protocol, host_ip=composing.LOOPBACK, published=lease.port
            )

        return tuple(bound(port) for port in self.definition.services[service].ports)

    def _limit_s(self, part: SandboxService) -> float:
        """Longest time for a service to become ready: as asked, as it says, else as long as its check may take."""
        ready = self.definition.services[part.name].ready
        usual_s = self.world.settings.ready_timeout_s
        if part.health and not part.health.off:
            usual_s = max(usual_s, part.health.deadline_s)
        return self.request.wait_timeout_s or (ready and ready.timeout_s) or usual_s

    def _wait(self, service: Service, ports: Sequence[BoundPort], limit_s: float) -> None:
        """Wait until a started service passes an http check of its own. Raises NotReadyError."""
        began = time.monotonic()
        while (answer := self._ask(service, ports)) is not None:
            if time.monotonic() - began >= limit_s:
                log = "\n".join(self.sandbox.log(service.name) or self.sandbox.log())
                message = f"services.{service.name}: not ready after {limit_s:.1f} s; last probe: {answer}"
                hint = "The lines above are the last ones that Dagger logged."
                raise NotReadyError(message, service=service.name, reason="timeout", probe=answer, log=log, hint=hint)
            time.sleep(_PAUSE_S)

    def _ask(self, service: Service, ports: Sequence[BoundPort]) -> str | None:
        """Probe once. None: ready. A connection says nothing: a tunnel accepts before its service listens."""
        check = service.ready
        if check is None or check.check != Check.HTTP:
            return None
        port = next(port for port in ports if check.port in (None, port.target))
        path = check.path if check.path.startswith("/") else f"/{check.path}"
        return self.world.prober.http(f"http://{port.host_ip}:{port.published}{path}", _PROBE_S, check.status)

    def _status(self) -> StackStatus:
        services = {
            part.name: ServiceStatus(
                state="exited" if part.one_shot else "running",
                ready=True,
                exit_code=0 if part.one_shot else None,
                time_to_ready_s=self._ready_s[part.name],
                ports=() if part.one_shot else self._ports(part.name),
            )
            for part in self.parts
        }
        return StackStatus(
            stack=self.stack,
            path=str(self.definition.source.directory),
            state=StackState.RUNNING,
            generation=None,
            services=services,
        )


def _with_contents(part: SandboxService) -> SandboxService:
    """The service with the content of its secrets and configs from this machine. Raises DefinitionError."""
    files = [
        file.model_copy(update={"content": _text(part.sources[file.target], part.name)})
        if file.target in part.sources
        else file
        for file in part.files
    ]
    return part.model_copy(update={"files": tuple(files)})


def _text(path: str, service: str) -> str:
    try:
        return bounded.text_of(Path(path), bounded.SETTINGS_BYTES, errors="strict")
    except (OSError, UnicodeDecodeError) as error:
        message = f"services.{service}: {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"
        raise DefinitionError(message, service=service, file=path) from None
