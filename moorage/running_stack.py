"""A running stack for Python programs: addresses, logs, commands, and faults for tests."""

from __future__ import annotations

import asyncio
import shlex
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from moorage.errors import DefinitionError
from moorage.interfaces import World
from moorage.model.request import StartRequest, StopRequest
from moorage.model.state import BoundPort, Container, StackStatus
from moorage.rules import addresses
from moorage.work.definitions.request import UpRequest
from moorage.work.operations.start import start
from moorage.work.operations.stop import stop
from moorage.work.operations.up import up
from moorage.work.queries.status import status as status_of
from moorage.work.runs.context import Context

T = TypeVar("T")


@dataclass(frozen=True)
class Executed:
    """The result of a command in a service."""

    exit_code: int
    output: str
    """The end of both streams."""


class RunningStack:
    """A running stack. All calls block; they may be made from async code too."""

    def __init__(self, world: World, status: StackStatus) -> None:
        self._world = world
        self._status = status
        self.name = status.stack

    def __repr__(self) -> str:
        return f"<stack {self.name}: {', '.join(self._status.services)}>"

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services."""
        return tuple(self._status.services)

    def status(self) -> StackStatus:
        """The current state of the stack."""
        self._status = finish(lambda: status_of(self._world, self.name))
        return self._status

    def port(self, service: str, target: int | None = None, protocol: str = "tcp") -> int:
        """The host port of a container port. `target` None: the only one. Raises DefinitionError."""
        return self._published(service, target, protocol).published

    def host(self, service: str, target: int | None = None, protocol: str = "tcp") -> str:
        """The address at which this machine reaches it. Raises DefinitionError."""
        return addresses.host_of(self._published(service, target, protocol))

    def url(self, service: str, target: int | None = None, scheme: str | None = None) -> str:
        """`http://127.0.0.1:20001`. `scheme` None: the usual one for the container port. Raises DefinitionError."""
        return addresses.url_of(self._published(service, target, "tcp"), scheme)

    def environment(self) -> dict[str, str]:
        """MOORAGE_STACK, and MOORAGE_URL_…, MOORAGE_HOST_…, MOORAGE_PORT_… of all services, as in `moorage ci`."""
        return addresses.variables(self._status)

    def exec(self, service: str, command: Sequence[str] | str, *arguments: str, user: str = "") -> Executed:
        """Run a command in a service: a list of arguments, or one text, which is split as a shell would.

        It runs without a shell. Raises EngineError.
        """
        if isinstance(command, str):
            command = [command] if arguments else shlex.split(command)
        words = [*command, *arguments]
        code, output = self._world.engine.exec(self._containers(service)[0].id, words, user=user)
        return Executed(code, output)

    def logs(self, service: str, tail: int | None = None) -> str:
        """The output of a service, both streams. `tail` None: all of it."""
        return "\n".join(self._world.engine.logs(container.id, tail) for container in self._containers(service))

    def kill(self, service: str, signal: str = "SIGKILL") -> None:
        """Send a signal to a service, to test what happens without it. `start` or `restart` brings it back."""
        for container in self._containers(service):
            self._world.engine.kill(container.id, signal)

    def stop(self, *services: str) -> None:
        """Stop services (none named: all) and their dependents, in order."""
        self._known(*services)
        finish(lambda: stop(Context(self._world), StopRequest(stack=self.name, services=services)))

    def start(self, *services: str) -> None:
        """Start services (none named: all) and wait until they are ready. Raises NotReadyError."""
        self._known(*services)
        found = finish(lambda: start(Context(self._world), StartRequest(stack=self.name, services=services)))
        self._status = found.status or self._status

    def restart(self, *services: str) -> None:
        """Stop services and start them again; returns when they are ready. Raises NotReadyError."""
        self.stop(*services)
        self.start(*services)

    def _published(self, service: str, target: int | None, protocol: str) -> BoundPort:
        self._known(service)
        found = [
            port
            for name, port in addresses.published(self._status)
            if name == service and port.protocol == protocol and target in (None, port.target)
        ]
        if len(found) == 1:
            return found[0]
        has = ", ".join(f"{p.target}/{p.protocol}" for n, p in addresses.published(self._status) if n == service)
        wanted = f"port {target}/{protocol}" if target else f"exactly one {protocol} port"
        raise DefinitionError(
            f"services.{service}: it does not publish {wanted}", hint=f"Published ports: {has or 'none'}."
        )

    def _containers(self, service: str) -> tuple[Container, ...]:
        self._known(service)
        found = self._world.engine.containers(self.name, service)
        if not found:
            raise DefinitionError(f"services.{service}: it has no container", service=service)
        return found

    def _known(self, *services: str) -> None:
        for service in services:
            if service not in self._status.services:
                names = ", ".join(self._status.services)
                raise DefinitionError(
                    f"{self.name}: no service {service!r}", hint=f"Services: {names}.", service=service
                )


def bring_up(world: World, request: UpRequest) -> RunningStack:
    """Bring a stack up from a Python program. Raises what `up` raises."""
    found = finish(lambda: up(Context(world), request))
    assert found.status is not None  # noqa: S101 - it is up
    return RunningStack(world, found.status)


def finish(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run async work to its end, from code with or without a running loop.

    Ctrl-C cancels the work once, waits until it has cleaned up, and is raised then.
    """
    result: Future[T] = Future()
    cancels: Future[Callable[[], object]] = Future()

    async def main() -> None:
        loop, doing = asyncio.get_running_loop(), asyncio.ensure_future(work())
        cancels.set_result(lambda: loop.call_soon_threadsafe(doing.cancel))
        try:
            result.set_result(await doing)
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            result.set_exception(error)

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="moorage-stack", daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        cancels.result()()
        thread.join()
        raise
    return result.result()
