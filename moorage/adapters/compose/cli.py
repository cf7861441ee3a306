"""The official Compose CLI: only it reads compose files and creates containers, networks and volumes.

Always called with an argument list, never a shell, always with a timeout; when it reads, with limits of memory and
of work too.

For an `include` or `extends` from a git repository Compose runs git, which reads the configuration of the repository
that it runs in, the project's: there, `url.….insteadOf` and `core.sshCommand` name programs. So that is switched off
unless the user's own environment switches it on.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from moorage import bounded
from moorage.adapters.compose.as_read import as_read, may_name_others, parsed, refuse_depth, refuse_large, too_deep
from moorage.adapters.compose.errors import definition_error, engine_error, image_error, last_words, unfinished
from moorage.adapters.compose.ignored_keys import ignored_keys
from moorage.adapters.compose.limits import limiting
from moorage.adapters.compose.orphan_processes import end_strays, is_in_a_command
from moorage.adapters.compose.program import find_program
from moorage.adapters.compose.registry_config import logged_in, remove_left_behind
from moorage.adapters.docker_context import ChosenEngine
from moorage.adapters.framing import every_call
from moorage.adapters.patience import patient_s
from moorage.errors import ComposeUnavailableError, DefinitionError, MoorageError, said
from moorage.interfaces import Compose
from moorage.interfaces.compose import Reading, unheard
from moorage.model.definition import Config, Source
from moorage.model.image import RegistryLogin
from moorage.rules import patience
from moorage.rules.composing import file_text
from moorage.rules.environments import for_own_files, for_programs, for_reading
from moorage.rules.reading import service_extensions, unescaped
from moorage.settings import Settings

Line = Callable[[str], None]

_MOST_ANSWER = 32 << 20
"""Most bytes that Compose may make of a definition: 500 services have half a MiB."""
_LONGEST_LINE, _FIRST_LINES, _MOST_LINES = 1 << 16, 100, 10_000
"""Of what a build or a pull prints: how long a line may be, and how many are kept, from its beginning and its end."""
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NAME = "COMPOSE_PROJECT_NAME"
_NAMELESS = "moorage-asks-for-variables"
"""The name of a project that has none: so it shows whether the environment gives one."""

_EFFECTS = ("create", "build", "pull")

_KILLED = frozenset({-signal.SIGKILL, 128 + signal.SIGKILL, 255})
"""How a program ends that was killed; how a shell ends whose child was, and `docker`, whose plugin was."""
_NOT_RUN = (126, 127)
"""How what sets its limits ends if there is no such program any more."""

_AS_JSON = ("--format", "json")
_NO_YAML = ": yaml: "
_NO_JSON = "error calling MarshalJSON"
"""What Compose says where it cannot write what it has read, such as `build.ssh: [default]`."""
_SOURCES = frozenset({"file", "environment", "content", "external"})
_FENCE = {"COMPOSE_EXPERIMENTAL_GIT_REMOTE": "false", "GIT_ALLOW_PROTOCOL": "http:https:ssh:git"}
"""Unless the environment says otherwise. A project's `.env` cannot: Compose takes nothing from it that is set here."""

_ATTEST = "BUILDX_NO_DEFAULT_ATTESTATIONS"
"""Attestations have the time in them: each build of the same files would be another image, and re-create containers."""


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

    def __init__(
        self,
        settings: Settings,
        logins: tuple[RegistryLogin, ...] = (),
        on_wait: Line = lambda _words: None,
        chosen: ChosenEngine | None = None,
    ) -> None:
        """`on_wait` is told what it waits for longer than usual. `chosen` None: what the process is told when asked."""
        self._chosen = chosen or ChosenEngine()
        self._settings = settings
        self._on_wait = on_wait
        self._logins = logins
        self._program: tuple[str, ...] | None = None
        self._image_calls: set[subprocess.Popen[str]] = set()
        self._version = ""

    def version(self) -> str:
        self._command()
        return self._version

    def config(
        self, source: Source, name: str | None, environment: Mapping[str, str], on_warning: Line = unheard
    ) -> Config:
        return self._config(source, name, environment, on_warning)

    def begin_config(self, source: Source, name: str) -> Reading:
        """Begun only when its result is asked for, if files may come from far away.

        Compose fetches those into a folder of its cache, and takes for whole what another call has just begun there.
        """
        far = may_name_others(source)
        call = None if far else self._begin(source, [*_of_config(source, name), *_AS_JSON], {})
        return _CallUnderWay(call, lambda on_warning: self._config(source, name, {}, on_warning, call))

    def _config(
        self,
        source: Source,
        name: str | None,
        environment: Mapping[str, str],
        on_warning: Line,
        begun: _Call | None = None,
    ) -> Config:
        """`begun`: the call for its JSON, if that is under way."""
        arguments = _of_config(source, name)
        return _readable_again(self._read_project(source, arguments, environment, on_warning, begun))

    def raw_config(self, source: Source) -> Config:
        options = ["--no-normalize", "--no-path-resolution", "--no-env-resolution"]
        # With a name, because Compose cannot derive one from a directory called 日本. The file's own is still printed.
        arguments = [*_of_config(source, "x"), *options, "--no-interpolate"]
        try:
            return self._read_project(source, arguments, {})
        except DefinitionError as error:
            if "file" not in error.fields or _NO_YAML in str(error):  # it took too long or is none, and would be again
                raise
        whole = source.model_copy(update={"profiles": ("*",)})  # as above, where Compose leaves none out
        try:
            return as_read(self, whole, partial(self._yaml, whole, options))
        except DefinitionError as error:  # perhaps for a service that nobody asks for
            if "file" not in error.fields:
                raise
            return as_read(self, source, partial(self._yaml, source, options))

    def _read_project(
        self,
        source: Source,
        arguments: list[str],
        environment: Mapping[str, str],
        on_warning: Line = unheard,
        begun: _Call | None = None,
    ) -> Config:
        """From JSON, or from YAML where Compose cannot write its JSON."""
        try:
            return self._read_json(source, [*arguments, *_AS_JSON], environment, None, on_warning, begun)
        except DefinitionError as error:
            if _NO_JSON not in str(error):
                raise
        return parsed(self._read(source, [*arguments, "--format", "yaml"], environment, on_warning=on_warning))

    def _yaml(self, source: Source, options: Sequence[str], environment: Mapping[str, str], name: str | None) -> str:
        return self._read(source, [*_of_config(source, name), *options, "--format", "yaml"], environment)

    def extensions(self, source: Source, name: str, environment: Mapping[str, str]) -> dict[str, Config]:
        """From YAML, because Compose leaves `x-` keys of services out of its JSON."""
        return service_extensions(parsed(self._yaml(source, (), environment, name)))

    def interpolate(self, source: Source, values: Config, environment: Mapping[str, str]) -> Config:
        return self._interpolated(source, values, environment, "x")

    def _interpolated(self, source: Source, values: Config, environment: Mapping[str, str], name: str) -> Config:
        """Uses a project with nothing but `values`: Compose drops `x-` keys of services and keeps those at the top."""
        project = {"name": name, "services": {"x": {"image": "x"}}, "x-values": values}
        arguments = [*_env_files(source), "-f", "-", "config", *_AS_JSON]
        config = self._read_json(source, arguments, environment, file_text(project))
        answer: Config = config["x-values"]
        return answer

    def variables(self, source: Source, names: Collection[str], stack: str | None = None) -> dict[str, str]:
        """By interpolation, because `config --environment` does not tell where a value of several lines ends.

        It is asked all the same for names that cannot be interpolated.
        """
        plain = [name for name in names if _IDENTIFIER.fullmatch(name)]
        asked = {name: [f"${{{name}-}}", f"${{{name}+set}}"] for name in plain}
        answers = unescaped(self._interpolated(source, asked, {}, stack or _NAMELESS)) if plain else {}
        found = {name: value for name, (value, is_set) in answers.items() if is_set}
        if stack is None and found.get(_NAME) == _NAMELESS:  # Compose sets it to the project's name
            del found[_NAME]
        if len(plain) < len(names):
            text = self._read(source, [*_of_config(source, stack or _NAMELESS), "--environment"], {})
            lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
            found |= {name: lines[name] for name in names if name in lines and name not in plain}
        return found

    def create(self, stack: str, file: Path, services: Sequence[str], recreate: bool, on_line: Line) -> None:
        # Never -y: it would say yes to "recreate the volume, data will be lost".
        options = ["--no-build", "--pull", "never", "--remove-orphans", *(["--force-recreate"] if recreate else [])]
        command = ["-p", stack, "-f", str(file), "create", *options, "--", *services]
        code, output = self._run(command, file.parent, on_line)
        if code:
            raise engine_error(last_words(output), "create").with_fields(unfinished=unfinished(output) or None)

    def build(
        self, stack: str, file: Path, service: str, on_line: Line, variables: Mapping[str, str] | None = None
    ) -> None:
        arguments = ["-p", stack, "--progress", "plain", "-f", str(file), "build"]
        self._image(arguments, file, service, on_line, variables or {})

    def pull(self, stack: str, file: Path, service: str, on_line: Line) -> None:
        self._image(["-p", stack, "-f", str(file), "pull"], file, service, on_line, {})

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

    def _image(
        self, arguments: list[str], file: Path, service: str, on_line: Line, variables: Mapping[str, str]
    ) -> None:
        limit_s = self._settings.image_timeout_s
        with logged_in(self._home(), self._logins) as env:
            more = {**variables, _ATTEST: os.environ.get(_ATTEST, "1"), **env}
            command = [*arguments, "--", service]
            code, output = self._run(command, file.parent, on_line, limit_s, self._image_calls, more)
        if code:
            raise image_error(arguments[-1], service, output)

    def _read_json(
        self,
        source: Source,
        arguments: list[str],
        environment: Mapping[str, str],
        stdin: str | None = None,
        on_warning: Line = unheard,
        begun: _Call | None = None,
    ) -> Config:
        try:
            config = json.loads(self._read(source, arguments, environment, stdin, on_warning, begun))
        except RecursionError:
            raise too_deep() from None
        if not isinstance(config, dict):
            raise TypeError(f"{type(config).__name__}, not an object")
        refuse_depth(config)
        return config

    def _read(
        self,
        source: Source,
        arguments: list[str],
        environment: Mapping[str, str],
        stdin: str | None = None,
        on_warning: Line = unheard,
        begun: _Call | None = None,
    ) -> str:
        code, out, err = self._answer(begun or self._begin(source, arguments, environment, stdin), stdin)
        if code:
            raise definition_error(err, source, lambda: self._service_names(source))
        for warning in ignored_keys(err):
            on_warning(warning)
        return out

    def _service_names(self, source: Source) -> list[str]:
        """Service names of an inconsistent definition. Empty: it cannot be read at all."""
        options = ["--services", "--no-consistency", "--no-interpolate"]
        code, out, _ = self._answer(self._begin(source, [*_of_config(source, "x"), *options], {}))
        return [] if code else out.split()

    def _begin(
        self, source: Source, arguments: list[str], environment: Mapping[str, str], stdin: str | None = None
    ) -> _Call:
        """Start a call that only reads."""
        refuse_large(source)
        env = {**for_reading(for_programs(os.environ)), **dict(source.environment), **environment}
        cpu_s = math.ceil(self._settings.compose_timeout_s)
        limited = limiting(self._settings.compose_memory_bytes, cpu_s)
        return _Call(self._start(arguments, source.directory, env, stdin, limited=limited), time.monotonic())

    def _answer(self, call: _Call, stdin: str | None = None) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a call that only reads."""
        process = call.process
        try:
            asked = (stdin or "").encode(errors="surrogateescape")
            answer = bounded.answer_of(process, asked, self._settings.compose_timeout_s, _MOST_ANSWER, self._more_s)
        except bounded.TooMuchError as error:
            message = f"compose config: what it makes of the definition is {error.strerror}"
            raise DefinitionError(message, hint="Do aliases or `extends` make much of little?") from None
        except subprocess.TimeoutExpired as error:
            message = f"compose config: no answer within {error.timeout:.3g} s"
            raise DefinitionError(message, hint="Is a file of the definition a pipe, or very large?") from None
        self._check_work(process.returncode, time.monotonic() - call.began)
        out, err = (text.decode(errors="replace") for text in answer)
        if process.returncode in _NOT_RUN:
            raise OSError(err.strip())
        return process.returncode, out, err

    def _more_s(self, waited_s: float) -> float:
        """How much longer a call that reads may take, in seconds; 0 or less: it is over."""
        more_s = patient_s(self._settings.compose_timeout_s) - waited_s
        if more_s > 0:
            self._on_wait(patience.words("compose config has not answered", waited_s))
        return more_s

    def _check_work(self, code: int, waited_s: float) -> None:
        """Raises DefinitionError if it was ended because it had used up its time of the processors.

        The kernel kills it then; where all processors together had less time, it was somebody else.
        """
        limit_s = math.ceil(self._settings.compose_timeout_s)
        if code in _KILLED and waited_s * (os.cpu_count() or 1) >= limit_s:
            message = f"compose config: no answer within {limit_s} s of work"
            raise DefinitionError(message, hint="Does a file of the definition have nested aliases?")

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
        env = {**for_own_files(for_programs(os.environ)), **self._chosen.endpoint.environment(), **(more or {})}
        process = self._start(arguments, directory, env, None, merged=True)
        alarm = _Alarm(process, limit_s, partial(self._say_of, arguments))
        calls = set() if under_way is None else under_way
        calls.add(process)
        lines: list[str] = []
        try:
            while line := process.stdout.readline(_LONGEST_LINE) if process.stdout else "":
                text = line.rstrip()
                lines.append(text)
                on_line(text)
                if len(lines) > 2 * _MOST_LINES:
                    del lines[_FIRST_LINES:-_MOST_LINES]
            code = process.wait()
        finally:
            alarm.cancel()
            calls.discard(process)
            _end(process)
        if code < 0:
            lines.append(f"timed out after {alarm.waited_s():.3g} s")
        return code, lines

    def _say_of(self, arguments: list[str], waited_s: float) -> None:
        verb = next((one for one in arguments if one in _EFFECTS), "")
        self._on_wait(patience.words(f"compose {verb} has not ended", waited_s))

    def _start(
        self,
        arguments: list[str],
        directory: Path,
        env: dict[str, str],
        stdin: str | None,
        *,
        merged: bool = False,
        limited: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                [*limited, *self._command(), *arguments],
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
            found = find_program(self._settings.compose)
            self._program, self._version = found.program, found.version
        return self._program


class _Call(NamedTuple):
    """A call that only reads, under way."""

    process: subprocess.Popen[str]
    began: float
    """By the monotonic clock, in seconds."""


@every_call(lambda _reading: _translating())
class _CallUnderWay(Reading):
    """What it prints waits in a pipe: only a large definition has to wait for its reader before it can end."""

    def __init__(self, call: _Call | None, result: Callable[[Line], Config]) -> None:
        """`call` None: it has not begun."""
        self._call = call
        self._result = result

    def result(self, on_warning: Line = unheard) -> Config:
        return self._result(on_warning)

    def cancel(self) -> None:
        if self._call:
            _end(self._call.process)


class _Alarm:
    """Kills a process whose time is over; a busy machine gets it more time, and that is told."""

    def __init__(self, process: subprocess.Popen[str], limit_s: float, on_wait: Callable[[float], None]) -> None:
        self._process, self._limit_s, self._on_wait = process, limit_s, on_wait
        self._began = time.monotonic()
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="moorage-alarm").start()

    def cancel(self) -> None:
        """It has ended."""
        self._over.set()

    def waited_s(self) -> float:
        """For how long, in seconds."""
        return time.monotonic() - self._began

    def _watch(self) -> None:
        left_s = self._limit_s
        while not self._over.wait(left_s):
            left_s = patient_s(self._limit_s) - self.waited_s()
            if left_s <= 0:
                _kill(self._process)
                return
            self._on_wait(self.waited_s())


def _of_config(source: Source, name: str | None) -> list[str]:
    return [*(["-p", name] if name else []), *_selection(source), "config"]


def _selection(source: Source) -> list[str]:
    files = [part for file in source.files for part in ("-f", str(file))]
    profiles = [f"--profile={profile}" for profile in source.profiles]
    return [*_env_files(source), *files, *profiles]


def _env_files(source: Source) -> list[str]:
    directory = ["--project-directory", str(source.directory)] if source.files else []
    return [*directory, *(part for file in source.env_files for part in ("--env-file", str(file)))]


def _readable_again(config: Config) -> Config:
    """Compose's JSON as Compose reads it.

    It prints the keys of `blkio_config` as `Path`, `Rate` and `Weight`, and of a config without a file, a variable or
    another content it does not print that its content is empty; it would then mount a directory. A limit of zero it
    leaves out, of `core: 0` that is all, and then it misses it. An SSH key `id=path` it prints as `id: path`. `x-` keys
    of services are only in its YAML.
    """
    services = (config.get("services") or {}).values()
    for service in services:
        for key in [key for key in service if key.startswith("x-")]:
            del service[key]
        build = service.get("build") or {}
        if keys := build.get("ssh"):
            build["ssh"] = sorted(str(key).replace(": ", "=", 1) for key in keys)
        _with_zeros(build)
    for container in (one for service in services for one in (service, *(service.get("pre_start") or ()))):
        _with_zeros(container)
        for devices in (container.get("blkio_config") or {}).values():
            if isinstance(devices, list):
                devices[:] = [{key.lower(): value for key, value in device.items()} for device in devices]
    for thing in (config.get("configs") or {}).values():
        if thing is not None and not _SOURCES & thing.keys():
            thing["content"] = ""
    return config


def _with_zeros(limited: Config) -> None:
    """Give the limits of a container or a build the zeros back that Go leaves out of a pair."""
    for limits in (limited.get("ulimits") or {}).values():
        if isinstance(limits, dict):
            limits.update({"soft": 0, "hard": 0, **limits})


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
