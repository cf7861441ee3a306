"""Our side of the process that runs the Dagger SDK: starts it, sends requests, ends it with all its children."""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moorage.adapters.dagger.session import HANDED, SCRATCH
from moorage.errors import BackendUnavailableError
from moorage.model.image import RegistryLogin
from moorage.rules.environments import for_programs
from moorage.rules.versions import at_least

_QUIET = {
    "DAGGER_LEAVE_OLD_ENGINE": "1",  # else provisioning removes every other engine's container
    "DO_NOT_TRACK": "1",
    "DAGGER_NO_NAG": "1",
    "OTEL_SDK_DISABLED": "true",
    "NO_COLOR": "1",
}
OLDEST_ENGINE = (0, 21, 1)
_CLOSE_S = 15.0
_TERM_S = 3.0
_LINES = 60
_SHOWN = 40
"""Lines of a failed command's output and of the log behind it: all of them fit where the end of a log is shown."""
HINT = "`moorage doctor` checks CLI and engine; `--builder compose` builds without Dagger."


class DaggerFailedError(Exception):
    """An error of the SDK as data: `kind`, `message`, `log`; for a failed command `exit_code`, `stdout`, `stderr`."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(str(facts.get("message") or "no reason given"))
        self.kind = str(facts.get("kind") or "")
        self.facts = dict(facts)

    @property
    def output(self) -> str:
        """Output of the failed command. Empty: it printed nothing, or no command failed."""
        texts = (str(self.facts.get(name) or "").strip("\n") for name in ("stdout", "stderr"))
        return "\n".join(text for text in texts if text)

    @property
    def log(self) -> str:
        """The failed command and its output, and then, as far as there is room, the end of the CLI's log."""
        command = self.facts.get("command")
        output = [f"$ {shlex.join(map(str, command))}"] if command else []
        output += self.output.splitlines()
        trace = [str(line) for line in self.facts.get("log") or ()]
        room = max(_SHOWN - len(output), 0) if output else len(trace)
        return "\n".join([*output, *trace[len(trace) - min(room, len(trace)) :]])


class DaggerChild:
    """A Dagger session, for use in a `with` block. Requests may come from any thread; answers come in any order."""

    def __init__(
        self,
        environment: Mapping[str, str],
        connect_timeout_s: float,
        on_line: Callable[[str], None] = lambda _line: None,
        logins: Iterable[RegistryLogin] = (),
        *,
        own_network: bool = False,
    ) -> None:
        self._environment = environment
        self._connect_timeout_s = connect_timeout_s
        self._on_line = on_line
        self._logins = logins
        self._own_network = own_network
        self._hand: socket.socket | None = None
        self._numbers = count(1)
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._guard = threading.Lock()
        self._ended = False
        self._aborted = threading.Event()
        self._said: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self.folder = Path()
        """Folder for files that are removed with the session; None before it."""
        self.engine_version = ""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="moorage-dagger-"))
        try:
            self._open()
        except BaseException:
            self._close(grace_s=0)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close(grace_s=0 if kind else _CLOSE_S)

    def ask(
        self, request: Mapping[str, Any], timeout_s: float, listeners: Sequence[socket.socket] = ()
    ) -> dict[str, Any]:
        """Send a request and return its answer. `listeners` go with it, to a session with a network of its own.

        Raises DaggerFailedError, also if the session ends; TimeoutError.
        """
        number = next(self._numbers)
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._guard:
            if self._ended:
                raise DaggerFailedError(self._end_of_session())
            self._answers[number] = answers
        self._send({**request, "id": number, "handed": len(listeners)}, listeners)
        return self._answer(answers, timeout_s)

    def abort(self) -> None:
        """End the session and all its processes; pending requests raise DaggerFailedError."""
        self._aborted.set()
        self._kill(signal.SIGKILL)

    def last_lines(self) -> list[str]:
        """The last lines logged by the CLI and the engine."""
        return self._said[-_LINES:]

    def _open(self) -> None:
        opened: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._answers[0] = opened
        own = {SCRATCH: str(self.folder), "TMPDIR": str(self.folder)}
        theirs = None
        if self._own_network:
            self._hand, theirs = socket.socketpair()
            own[HANDED] = str(theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "moorage.adapters.dagger.session"],
            cwd=self.folder,
            env={**for_programs(os.environ), **_QUIET, **self._environment, **own},
            pass_fds=[theirs.fileno()] if theirs else [],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C must not reach it, and the group can be ended as a whole
        )
        if theirs:
            theirs.close()
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True, name="moorage-dagger")
        self._reader.start()
        if self._aborted.is_set():  # `abort` was called before there was a process
            self._kill(signal.SIGKILL)
        try:
            self.engine_version = str(self._answer(opened, self._connect_timeout_s)["version"])
        except TimeoutError:
            reason = f"the CLI opened no session within {self._connect_timeout_s:g} s"
            raise self._unavailable(reason, self.last_lines()) from None
        except DaggerFailedError as error:
            raise self._unavailable(str(error), error.facts.get("log") or ()) from None
        if not at_least(self.engine_version, OLDEST_ENGINE):
            oldest = ".".join(map(str, OLDEST_ENGINE))
            raise self._unavailable(f"engine {self.engine_version} is too old: {oldest} or later is needed", ())
        for login in self._logins:
            asked = {"do": "login", "registry": login.registry, "username": login.username, "password": login.password}
            self.ask(asked, self._connect_timeout_s)

    def _unavailable(self, reason: str, log: Iterable[str]) -> BackendUnavailableError:
        shown = "".join(f"\n  {line[:200]}" for line in [*log][-12:])
        return BackendUnavailableError(f"dagger cannot be used: {reason[:1000]}{shown}", backend="dagger", hint=HINT)

    def _answer(self, answers: queue.SimpleQueue[dict[str, Any]], timeout_s: float) -> dict[str, Any]:
        try:
            got = answers.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None
        if "failed" in got:
            raise DaggerFailedError(got["failed"])
        answer: dict[str, Any] = got.get("done", got.get("ready", {}))
        return answer

    def _send(self, request: Mapping[str, Any], listeners: Sequence[socket.socket] = ()) -> None:
        stdin = self._process.stdin if self._process else None
        with self._guard, suppress(OSError, ValueError):  # it has ended: the reader answers pending requests
            if self._hand and listeners:
                socket.send_fds(self._hand, [b"."], [one.fileno() for one in listeners])
            if stdin:
                stdin.write(json.dumps(request) + "\n")
                stdin.flush()

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Distribute answers and log lines until the process ends, then fail all pending requests."""
        for text in process.stdout or ():
            try:
                got = json.loads(text)
            except ValueError:
                got = {"line": text.rstrip()}
            if "line" in got:
                self._said = [*self._said[-4 * _LINES :], str(got["line"])]
                self._on_line(str(got["line"]))
            elif answers := self._answers.get(got.get("id", 0)):
                answers.put(got)
        with self._guard:
            self._ended = True
            waiting = list(self._answers.values())
        for answers in waiting:
            answers.put({"failed": self._end_of_session()})

    def _end_of_session(self) -> dict[str, Any]:
        return {"kind": "SessionError", "message": "the session has ended", "log": self.last_lines()}

    def _close(self, grace_s: float) -> None:
        """Close the input, which ends the session cleanly; kill whatever still runs after `grace_s`."""
        process = self._process
        if process:
            with suppress(OSError, ValueError):
                if process.stdin:
                    process.stdin.close()
            if not _ends(process, grace_s):
                self._kill(signal.SIGTERM if grace_s else signal.SIGKILL)
                if not _ends(process, _TERM_S):
                    self._kill(signal.SIGKILL)
            process.wait()
            self._kill(signal.SIGKILL)  # the CLI, in case it has outlived the SDK
            self._reader.join(_TERM_S)
            if process.stdout and not self._reader.is_alive():
                process.stdout.close()
        if self._hand:
            self._hand.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self._process:
                os.killpg(self._process.pid, number)


def _ends(process: subprocess.Popen[str], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process.poll() is not None
