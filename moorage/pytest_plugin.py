"""The pytest plugin: `moorage_stack`, a stack for a test run, a module or a test.

Every pytest in an environment with Moorage loads it, so it imports nothing of Moorage before a test needs a stack.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

if TYPE_CHECKING:
    from moorage.interfaces import World
    from moorage.running_stack import RunningStack
    from moorage.stack import Stack
    from moorage.work.definitions.request import UpRequest
    from moorage.work.ephemeral.stack import EphemeralStack

_FIXTURE = "moorage_stack"
_SCOPES = ("session", "package", "module", "class", "function")
_LOG_LINES = 50
_LOCK_TIMEOUT_S = 900.0
"""Workers that share a stack wait this long for the one that brings it up."""
_shared: pytest.StashKey[EphemeralStack] = pytest.StashKey()
_kept: pytest.StashKey[list[str]] = pytest.StashKey()

Scope = Literal["session", "package", "module", "class", "function"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the command line, and settings for pytest.ini or pyproject.toml."""
    group = parser.getgroup("moorage", "container stacks (moorage)")
    group.addoption("--moorage-keep", action="store_true", help="keep the stacks of this run running for inspection")
    group.addoption("--moorage-reuse", action="store_true", help="use the stack of `moorage up`, and leave it running")
    parser.addini("moorage_file", "compose files, relative to the root directory", type="args", default=[])
    parser.addini("moorage_profile", "profiles to enable", type="args", default=[])
    parser.addini("moorage_scope", f"scope of {_FIXTURE}: {', '.join(_SCOPES)}", default="session")
    parser.addini("moorage_shared", "workers of pytest-xdist share one stack", type="bool", default=False)
    parser.addini("moorage_wait_timeout", "longest time for one service to become ready, in seconds", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and reject an invalid scope."""
    config.addinivalue_line("markers", "moorage(scope): scope of `moorage_stack` for this test, class or module")
    _checked(config.getini("moorage_scope"))
    config.stash[_kept] = []


def _checked(scope: str) -> Scope:
    if scope not in _SCOPES:
        raise pytest.UsageError(f"moorage_scope: {scope!r} is not one of {', '.join(_SCOPES)}")
    return cast("Scope", scope)


def _scope_of(fixture_name: str, config: pytest.Config) -> Scope:  # noqa: ARG001 - pytest passes it by name
    return _checked(config.getini("moorage_scope"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`@pytest.mark.moorage(scope="function")` gives the fixture another scope for the marked tests."""
    marker = metafunc.definition.get_closest_marker("moorage")
    if marker and _FIXTURE in metafunc.fixturenames:
        try:
            scope = _checked(marker.kwargs.get("scope") or (marker.args or ("session",))[0])
        except pytest.UsageError as error:  # which would be shown with a traceback here
            message = f"{metafunc.definition.nodeid}: {error}"
            raise pytest.Collector.CollectError(message) from None
        hidden = getattr(pytest, "HIDDEN_PARAM", scope)  # pytest 8.4 and later
        metafunc.parametrize(_FIXTURE, [scope], indirect=True, scope=scope, ids=[hidden])


@pytest.fixture(scope="session")
def moorage_definition() -> Stack | None:
    """The stack's definition, for overriding: a `moorage.Stack`. None: the compose file."""
    return None


@pytest.fixture(scope=_scope_of)
def moorage_stack(request: pytest.FixtureRequest, moorage_definition: Stack | None) -> Iterator[RunningStack]:
    """A running stack: `.url(service, port)`, `.exec`, `.logs`, `.restart`, `.kill`; removed after its scope."""
    config = request.config
    keep: bool = config.getoption("--moorage-keep")
    if moorage_definition is not None:
        with moorage_definition.up(wait_timeout_s=_wait_timeout_s(config), keep=keep) as stack:
            yield _noted(config, stack, keep=keep)
        return
    if request.scope == "session" and (adopted := _of_ci()):
        yield adopted
        return
    with _of_file(config, keep=keep) as stack:
        yield stack


def _of_ci() -> RunningStack | None:
    """The stack that `moorage ci -- pytest` has started for us. None: there is none."""
    name = os.environ.get("MOORAGE_STACK")
    if not name:
        return None
    from moorage.running_stack import RunningStack, finish
    from moorage.work.queries.status import status

    world = _world()
    found = finish(lambda: status(world, name))
    return RunningStack(world, found) if found.services else None


@contextmanager
def _of_file(config: pytest.Config, *, keep: bool) -> Iterator[RunningStack]:
    from moorage.stack import own_stack
    from moorage.work.definitions.request import name_of

    world, asked = _world(), _asked(config)
    shared: str | None = getattr(config, "workerinput", {}).get("moorage_shared")
    if config.getoption("--moorage-reuse"):
        yield _up(world, asked)
    elif shared:
        yield _up(world, asked.model_copy(update={"name": shared}))
    else:
        base = name_of(world, asked, world.compose.raw_config(asked.source))
        with own_stack(world, asked, base, kind="test", keep=keep) as stack:
            yield _noted(config, stack, keep=keep)


def _world() -> World:
    from moorage.settings import settings
    from moorage.world import open_world

    return open_world(settings=settings().model_copy(update={"lock_timeout_s": _LOCK_TIMEOUT_S}))


def _asked(config: pytest.Config) -> UpRequest:
    from moorage.work.definitions.request import UpRequest, source_of

    files = [str(config.rootpath / file) for file in config.getini("moorage_file")]
    source = source_of(None if files else config.rootpath, files, config.getini("moorage_profile"), ())
    return UpRequest(source=source, wait_timeout_s=_wait_timeout_s(config))


def _wait_timeout_s(config: pytest.Config) -> float | None:
    return float(config.getini("moorage_wait_timeout") or 0) or None


def _up(world: World, asked: UpRequest) -> RunningStack:
    """Bring it up, or find it up: several processes may do so at once."""
    from moorage.running_stack import bring_up

    return bring_up(world, asked)


def _noted(config: pytest.Config, stack: RunningStack, *, keep: bool) -> RunningStack:
    if keep:
        config.stash[_kept].append(stack.name)
    return stack


# --- one stack for all workers of pytest-xdist ---------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the controller, which outlives its workers: name the stack that they share, and own it."""
    config: pytest.Config = node.config
    if not config.getini("moorage_shared") or config.getoption("--moorage-reuse"):
        return
    if _shared not in config.stash:
        from moorage.work.definitions.request import name_of
        from moorage.work.ephemeral.stack import EphemeralStack, unique_name

        world, asked = _world(), _asked(config)
        base = name_of(world, asked, world.compose.raw_config(asked.source))
        config.stash[_shared] = EphemeralStack(world, unique_name(base, "test")).__enter__()
    node.workerinput["moorage_shared"] = config.stash[_shared].stack


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the controller: note the stacks that a worker kept."""
    node.config.stash[_kept] += getattr(node, "workeroutput", {}).get("moorage_kept", [])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker: report the stacks that were kept. In the controller: remove the shared stack."""
    getattr(session.config, "workeroutput", {})["moorage_kept"] = session.config.stash[_kept]
    owned = session.config.stash.get(_shared, None)
    if owned is None:
        return
    from moorage.running_stack import finish

    try:
        if session.config.getoption("--moorage-keep"):
            owned.keep()
            session.config.stash[_kept].append(owned.stack)
        else:
            finish(owned.remove)
    finally:
        owned.__exit__(None, None, None)


# --- reports -------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of the services to the report of a failed test."""
    report = yield
    if report.failed:
        stack = getattr(item, "funcargs", {}).get(_FIXTURE)
        wanted = _FIXTURE in getattr(item, "fixturenames", ())
        if not stack and wanted and (reason := _reason(call)):
            report.sections += reason
            if call.excinfo and not item.config.getoption("fulltrace"):
                report.longrepr = call.excinfo.getrepr(style="value", chain=False)  # without Moorage's own traceback
        report.sections += _logs(stack) if stack else []
    return report


def _logs(stack: RunningStack) -> list[tuple[str, str]]:
    from moorage.errors import MoorageError
    from moorage.show.formatting import clean

    found = []
    for service in stack.services:
        try:
            text = stack.logs(service, _LOG_LINES)
        except MoorageError as error:
            text = str(error)
        found.append((f"moorage: log of {service} ({stack.name})", clean(text)))
    return found


def _reason(call: pytest.CallInfo[None]) -> list[tuple[str, str]]:
    """Report section for a stack that did not come up: details of the error."""
    from moorage.errors import MoorageError

    error = call.excinfo.value if call.excinfo else None
    if not isinstance(error, MoorageError):
        return []
    from moorage.show.text import error_text

    return [("moorage: the stack did not come up", error_text(error))]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the stacks that were kept."""
    for stack in config.stash.get(_kept, []):
        terminalreporter.write_line(f"moorage: {stack} was kept; `moorage down --name {stack} --volumes` removes it")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say when a stack is reused: its data is that of earlier runs."""
    if config.getoption("--moorage-reuse") and "PYTEST_XDIST_WORKER" not in os.environ:
        return "moorage: reusing the stack of `moorage up`"
    return None
