"""One `moorage ci`, from starting the stack to removing it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from moorage import bounded
from moorage.adapters.files import write_beneath
from moorage.adapters.registry.history import copy_history
from moorage.cli.output import as_json
from moorage.cli.world import open_world
from moorage.errors import DefinitionError, HubError, InterruptedRunError, MoorageError, said
from moorage.interfaces import World
from moorage.model.definition import FILE_NAMES, Source
from moorage.model.event import Event
from moorage.model.state import StackStatus
from moorage.rules import addresses
from moorage.show.ci_summary import CiSummary, summary_markdown
from moorage.show.console import console
from moorage.show.formatting import one_line
from moorage.work.definitions.request import UpRequest, name_of, parameters_of, source_of
from moorage.work.ephemeral import artifacts as leaving
from moorage.work.ephemeral import stack
from moorage.work.ephemeral.artifacts import Artifacts
from moorage.work.ephemeral.command import Interrupts, run_command
from moorage.work.runs.context import Context

LAST_LINES = 30


_MOST_SUMMARY_BYTES = 1_000_000
"""GitHub drops a summary of more than 1 MiB as a whole."""


@Parameter(name="*")
@dataclass(frozen=True)
class Asked:
    """Options of `moorage ci`: the stack's definition, and what to keep of the run."""

    file: Annotated[list[str], Parameter(name=["--file", "-f"], help="Compose file; may be given several times.")] = (
        field(default_factory=list)
    )
    project_directory: Annotated[Path | None, Parameter(help="Directory of the project.")] = None
    profile: Annotated[list[str], Parameter(help="Profile to enable; may be given several times.")] = field(
        default_factory=list
    )
    env_file: Annotated[list[str], Parameter(help="File with variables; may be given several times.")] = field(
        default_factory=list
    )
    name_prefix: Annotated[
        str | None, Parameter(help="First part of the stack's name (default: the project's name).")
    ] = None
    junit: Annotated[
        Path | None, Parameter(help="Directory of JUnit reports: they are counted, and moorage.xml is added.")
    ] = None
    artifacts: Annotated[
        Path | None, Parameter(help="Directory for addresses and history; on failure also logs and state.")
    ] = None
    save_logs: Annotated[bool, Parameter(help="Save logs and state even if the command succeeds.")] = False
    wait_timeout: Annotated[float | None, Parameter(help="Longest time for a service to become ready, in seconds.")] = (
        None
    )
    timeout: Annotated[float | None, Parameter(help="Longest time for the command, in seconds: exit code 124.")] = None
    engine: Annotated[
        Literal["docker", "dagger"], Parameter(help="Where the stack runs: docker, or a dagger session.")
    ] = "docker"
    expose: Annotated[
        bool,
        Parameter(
            negative=(), help="With --engine dagger: published ports may be open on all addresses of the machine."
        ),
    ] = False
    json: Annotated[
        bool,
        Parameter(
            name="--json", negative=(), help="Print the result as JSON on stdout; the command's output goes to stderr."
        ),
    ] = False


class CiRun:
    """One `moorage ci`, from starting the stack to removing it."""

    def __init__(self, asked: Asked, command: Sequence[str]) -> None:
        self.asked = asked
        self.out = console(os.environ, sys.stderr)
        self.artifacts = Artifacts(asked.artifacts, write_beneath)
        self.environment = dict(os.environ)  # before Prefect's settings go into it
        self.interrupts = Interrupts(self._say_removing)
        self.source: Source | None = None
        self.world = open_world()
        self.summary = CiSummary(command=command)

    def request_of(self, source: Source) -> UpRequest:
        """The request, with a name that no other stack has. Raises DefinitionError."""
        request = UpRequest(source=source, wait_timeout_s=self.asked.wait_timeout)
        base = self.asked.name_prefix or name_of(self.world, request, self.world.compose.raw_config(source))
        return request.model_copy(update={"name": stack.unique_name(base)})

    def whole(self) -> int:
        """Up, command, save, down, summary; returns the exit code."""
        with self.interrupts.ignored():
            try:
                code = self._owned()
            except MoorageError as error:
                code = self._not_up(error)
            except KeyboardInterrupt:  # before there was anything to remove
                code = InterruptedRunError.exit_code
            self._save_summary()
        if self.asked.json:
            as_json(self._result())
        return code

    def _owned(self) -> int:
        with self.interrupts.heard():
            self.source = source_of(
                self.asked.project_directory, self.asked.file, self.asked.profile, self.asked.env_file
            )
            self.request = self.request_of(self.source)
        self.stack = self.summary.stack = str(self.request.name)
        with stack.EphemeralStack(self.world, self.stack) as owned:
            try:
                with self.interrupts.heard():  # the long parts handle signals themselves
                    code = self._up_and_command()
            except KeyboardInterrupt:
                code = InterruptedRunError.exit_code
            finally:
                removed = self.end(owned)
        return code or removed

    def _up_and_command(self) -> int:
        try:
            self.summary.status = self.up()
        except MoorageError as error:
            return self._not_up(error)
        return self._command(self.summary.status)

    def _say_removing(self) -> None:
        with suppress(RuntimeError):  # a signal in the middle of a write
            self.out.say("moorage: removing the stack, please wait")

    def kept(self, what: str, save: Callable[[], Any]) -> Any:
        """Save an artifact; a failure is reported and changes nothing else."""
        try:
            return save()
        except Exception as error:  # noqa: BLE001 - whatever it is, it changes nothing else
            self.out.say(f"note: {what} not saved: {one_line(said(error))}")
        return None

    # --- up -------------------------------------------------------------------------------------------------

    def up(self) -> StackStatus:
        """Bring the stack up. Raises MoorageError."""
        from moorage.show.text import summary_text

        began = time.monotonic()
        try:
            with self.out.guarded(f"moorage up {self.stack}"):
                found = bring_up(self.world, self.request, self.summary.timeline)
        finally:
            self.summary.up_s = time.monotonic() - began
        self.summary.flow_run_url = found.get("flow_run_url")
        status = StackStatus.model_validate({key: found[key] for key in StackStatus.model_fields})
        self.out.say(summary_text(status, self.summary.up_s, self.summary.flow_run_url, []))
        self.kept("addresses", lambda: leaving.save_addresses(self.artifacts, status))
        return status

    def _not_up(self, error: MoorageError) -> int:
        from moorage.show.text import error_text

        self.summary.error = error
        self.summary.report = self.kept("failure report", lambda: leaving.save_failure(self.artifacts, error))
        self.out.quote(error_text(error))
        for service in (self.summary.report or {}).get("services") or ():
            if service.get("service") != error.fields.get("service") and service.get("log"):
                self.out.folded(f"log of {service['service']}", "\n".join(service["log"][-LAST_LINES:]))
        file, line = place_of(self.source, error.fields, self.environment)
        self.out.error("moorage up", str(error), file, line)
        return error.exit_code

    # --- the command ----------------------------------------------------------------------------------------

    def _command(self, status: StackStatus) -> int:
        from moorage.show.text import error_text

        began = time.monotonic()
        if self.asked.junit:
            self.kept("JUnit report", lambda: Path(self.asked.junit or "").mkdir(parents=True, exist_ok=True))
        more = {"MOORAGE_JUNIT_DIR": str(self.asked.junit.absolute())} if self.asked.junit else {}
        more |= {"MOORAGE_ARTIFACTS_DIR": str(self.artifacts.directory)} if self.artifacts.directory else {}
        environment = leaving.environment_of(self.environment, status, more)
        with suppress(OSError):
            sys.stdout.flush()
        try:
            stdout = sys.stderr.fileno() if self.asked.json else None
            code = run_command(self.summary.command, environment, self.asked.timeout, self._say_of_command, stdout)
        except DefinitionError as error:
            code = self.summary.exit_code = int(error.fields["exit_code_of_command"])
            self.summary.error = error
            self.out.quote(error_text(error))
            return code
        finally:
            self.summary.command_s = time.monotonic() - began
        self.summary.exit_code = code
        if code:
            self._say_why(code)
        if code or self.asked.save_logs:
            self.kept("logs", self.save_services)
        return code

    def save_services(self) -> None:
        """Logs and state of all services among the artifacts. Raises MoorageError."""
        leaving.save_services(self.world, self.stack, self.artifacts)

    def _say_of_command(self, text: str) -> None:
        with suppress(RuntimeError):
            self.out.say(f"moorage: {text}")

    def _say_why(self, code: int) -> None:
        with suppress(MoorageError):  # an engine that is gone must not hide the command's own failure
            self.say_logs()
        self.out.error("moorage ci", f"{self.summary.command[0]} ended with exit code {code}")

    def say_logs(self) -> None:
        """The end of each service's log. Raises MoorageError."""
        for service, log in leaving.last_lines(self.world, self.stack, LAST_LINES).items():
            self.out.folded(f"log of {service}", log)

    # --- the end --------------------------------------------------------------------------------------------

    def end(self, owned: stack.EphemeralStack) -> int:
        """Save the history and remove the stack, whatever signals arrive. Returns an exit code, 0 for success."""
        self.kept("history", self._save_history)
        try:
            with self.out.guarded(f"moorage down {self.stack}"):
                remove(owned, over_hub=self.summary.flow_run_url is not None)
        except MoorageError as error:
            from moorage.show.text import error_text

            self.summary.left = error
            self.out.say(error_text(error))
            self.out.say(f"moorage: {self.stack} was not removed; the next `moorage` call on this machine tries again")
            return error.exit_code
        return 0

    def _save_history(self) -> None:
        if self.artifacts.directory:
            home = self.world.settings.home.expanduser().absolute()
            copy_history(home / "hub.db", self.artifacts.directory / "hub.db", self.stack)

    def _save_summary(self) -> None:
        """Write `result.json`, `timeline.json`, `summary.md`, our JUnit report and the job's summary."""
        self.kept("JUnit report", self._reports)
        text = summary_markdown(self.summary)
        self.kept("summary", lambda: self._write(text))
        if path := self.environment.get("GITHUB_STEP_SUMMARY"):
            with suppress(OSError), Path(path).open("ab") as file:
                file.write(text.encode(errors="replace")[:_MOST_SUMMARY_BYTES])
        self.out.say(f"moorage: {self.summary.verdict}")

    def _write(self, summary: str) -> None:
        job = self.summary
        self.artifacts.write("summary.md", summary)
        self.artifacts.write_json("timeline.json", job.timeline.spans())
        self.artifacts.write_json("result.json", self._result())

    def _result(self) -> dict[str, Any]:
        """The result. `exit_code` is the command's, None if it did not run; `error` and `left` are Moorage's."""
        job = self.summary
        errors = {name: error and error.as_dict() for name, error in (("error", job.error), ("left", job.left))}
        result = {"stack": job.stack or None, "up": job.status is not None, "exit_code": job.exit_code, **errors}
        return {**result, "up_s": round(job.up_s, 3)}

    def _reports(self) -> None:
        if self.asked.junit is None:
            return
        from moorage.show.junit import stack_report

        folder = self.asked.junit
        there = [file for file in sorted(folder.glob("*.xml")) if file.is_file() and file.name != "moorage.xml"]
        self.summary.tests = [found for file in there if (found := _counted(file))]
        up_failed = self.summary.error if self.summary.status is None else None
        report = stack_report(self.summary.stack or "stack", self.summary.status, up_failed, self.summary.up_s)
        write_beneath(folder, "moorage.xml", report)


def _counted(file: Path) -> Mapping[str, Any] | None:
    """A report in numbers. None: it is none, or larger than anybody reads."""
    from moorage.show.junit import counted

    with suppress(OSError), bounded.open_file(file) as opened:
        return counted(file.name, opened, bounded.REPORT_BYTES)
    return None


def bring_up(world: World, request: UpRequest, listener: Callable[[Event], None]) -> dict[str, Any]:
    """Bring the stack up: as a flow run where the environment names a Prefect API, else directly."""
    from moorage.cli.flow_runner import run_flow, with_progress
    from moorage.hub.address import wanted_url
    from moorage.work.operations.up import up

    if url := wanted_url():
        try:
            return run_flow("up", parameters_of(request), start_hub=False, listener=listener)
        except MoorageError:
            raise
        except Exception as error:  # from Prefect: a wrong password, another version; ours are all MoorageErrors
            hint = "Check PREFECT_API_AUTH_STRING and the server's version, or unset PREFECT_API_URL."
            raise HubError(f"the Prefect API at {url}: {one_line(str(error))}", hint=hint, api_url=url) from error

    async def directly(emit: Callable[[Event], None]) -> dict[str, Any]:
        return (await up(Context(replace(world, emit=emit)), request)).as_dict()

    return with_progress(directly, listener=listener)


def remove(owned: stack.EphemeralStack, *, over_hub: bool) -> None:
    """Remove the stack; `over_hub`: first as a flow run, so that it is in the history. Raises MoorageError."""
    if over_hub:
        with suppress(Exception):  # Prefect may be gone by now: the direct removal below does the rest
            _down_over_hub(owned)
    asyncio.run(owned.remove())


def _down_over_hub(owned: stack.EphemeralStack) -> None:
    from moorage.cli.flow_runner import run_flow

    grace_s = float(owned.world.settings.undo_grace_s)
    asked = {"stack": owned.stack, "volumes": True, "release_ports": True, "timeout_s": grace_s}
    run_flow("down", asked, start_hub=False)


def place_of(
    source: Source | None, facts: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[str | None, int | None]:
    """The compose file, as CI annotations name it, and the line of the service in it. None: not known."""
    if source is None:
        return None, None
    files = source.files or tuple(source.directory / name for name in FILE_NAMES)
    root = Path(environment.get("GITHUB_WORKSPACE") or Path.cwd())
    there = [file for file in files if file.is_file()]
    shown: Callable[[Path], str] = lambda file: str(file.relative_to(root) if file.is_relative_to(root) else file)  # noqa: E731
    for file in reversed(there):  # later files override earlier ones
        with suppress(OSError):
            text = bounded.text_of(file, bounded.SETTINGS_BYTES)
            service = facts.get("service")
            if line := addresses.line_of_service(text, str(service)) if service else None:
                return shown(file), line
    return (shown(there[0]), None) if there else (None, None)
