"""The program that runs one session of the Dagger SDK in its own process, and takes requests on its standard input.

The SDK cannot be interrupted while its CLI starts or ends, reads its settings from the environment of the process, and
leaves the CLI behind if it is cut off. A process can be given an environment, and be ended with all its children. Lines
of JSON in, lines of JSON out; the end of the input ends the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import dagger

SCRATCH = "MOORAGE_DAGGER_SCRATCH"
"""Folder for temporary files of a session; our parent removes it, or, if it was killed, this program."""
HANDED = "MOORAGE_DAGGER_HANDED"
"""Number of the socket over which listeners are handed to a session with a network of its own. None: it has none."""
RUNNER = "_EXPERIMENTAL_DAGGER_RUNNER_HOST"
_TAIL_LINES = 60
_OF_THE_ENGINE = re.compile(r" ?\[traceparent:[0-9a-f-]+\]|\x1b\[[0-9;]*m|failed to clone built container state: ")
"""What the engine adds to messages for its own traces, colours, and the function in which a build's error passed by."""
_CLOSING_S = 20.0
_GIVING_UP_S = 1.0
"""How long a session that never opened may take to end."""


def plain(text: str) -> str:
    """A text of the engine or the CLI without what only they can use."""
    return _OF_THE_ENGINE.sub("", text)


class Tail(io.StringIO):
    """Receives the CLI's log: keeps the last lines, and passes on each."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._out = out

    def write(self, text: str) -> int:
        """Keep and pass on lines that are not empty."""
        for line in map(plain, text.splitlines()):
            if line.strip():
                self.lines.append(line.rstrip())
                say(self._out, line=line.rstrip())
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        """Write several lines."""
        for line in lines:
            self.write(line)


_saying = threading.Lock()
_opened = threading.Event()


def say(out: TextIO, **facts: Any) -> None:
    """Write one line of JSON; no error if nobody reads it anymore."""
    with _saying, contextlib.suppress(OSError, ValueError):
        out.write(json.dumps(facts) + "\n")
        out.flush()


async def serve(requests: asyncio.Queue[dict[str, Any] | None], out: TextIO) -> None:
    """Open a session, answer requests concurrently until there are no more, close it: all in this task."""
    import dagger

    tail = Tail(out)
    config = dagger.Config(retry=None, log_output=tail)
    try:
        async with dagger.Connection(config) as client:
            _opened.set()
            say(out, ready={"version": await client.version()})
            await _answer_all(client, requests, out, tail)
    except Exception as error:  # noqa: BLE001 - any error of the SDK is passed on, not printed
        say(out, failed=described(error, tail.lines))


async def _answer_all(
    client: dagger.Client, requests: asyncio.Queue[dict[str, Any] | None], out: TextIO, tail: Tail
) -> None:
    from moorage.adapters.dagger.pipeline import Pipelines

    pipelines = Pipelines(client)
    under_way: set[asyncio.Task[None]] = set()

    async def answer(request: dict[str, Any]) -> None:
        try:
            say(out, id=request["id"], done=await pipelines.do(request))
        except Exception as error:  # noqa: BLE001 - the same
            say(out, id=request["id"], failed=described(error, tail.lines))

    while (request := await requests.get()) is not None:
        task = asyncio.create_task(answer(request))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)


def described(error: BaseException, tail: Iterable[str]) -> dict[str, Any]:
    """An error of the SDK as data: kind, message, log tail, and for a failed command its exit code and output.

    If the CLI has died, the SDK raises a SessionError on closing, which hides the real error: that one is looked up.
    """
    seen = error
    while type(seen).__name__ == "SessionError" and isinstance(seen.__context__, Exception):
        if not type(seen.__context__).__module__.startswith("dagger"):
            break
        seen = seen.__context__
    message = plain(str(seen)) or repr(seen)
    facts: dict[str, Any] = {"kind": type(seen).__name__, "message": message, "log": list(tail)}
    for name in ("command", "exit_code", "stdout", "stderr"):  # an ExecError's
        if hasattr(seen, name):
            facts[name] = getattr(seen, name)
    return facts


def _read(loop: asyncio.AbstractEventLoop, requests: asyncio.Queue[dict[str, Any] | None]) -> None:
    """Pass requests on; when the input ends, the session has some time to close, then everything is killed."""
    for line in sys.stdin:
        request = json.loads(line)
        request["listeners"] = _handed(request.get("handed", 0))
        loop.call_soon_threadsafe(requests.put_nowait, request)
    with contextlib.suppress(RuntimeError):  # it has already ended
        loop.call_soon_threadsafe(requests.put_nowait, None)
    threading.Timer(_CLOSING_S if _opened.is_set() else _GIVING_UP_S, _kill_all).start()


def _handed(number: int) -> list[socket.socket]:
    """The listeners of a request: they come in the order of the requests."""
    if not number:
        return []
    with socket.socket(fileno=os.dup(int(os.environ[HANDED]))) as way:
        _, descriptors, _, _ = socket.recv_fds(way, 1, number)
    return [socket.socket(fileno=one) for one in descriptors]


def _entered_own_network(out: TextIO) -> bool:
    """Leave the machine's network, with a way to an engine that is reached over it; if that fails, say why."""
    from moorage.adapters.dagger import own_network, relay

    at = urlsplit(os.environ.get(RUNNER, ""))
    try:
        if at.scheme == "tcp":
            os.environ[RUNNER] = relay.stay_outside(at.hostname or "", at.port or 0)
        own_network.enter()
    except OSError as error:
        say(out, failed={"kind": "OSError", "message": f"no network of its own: {error}", "log": []})
        return False
    return True


def _kill_all() -> None:
    _remove_scratch()
    if os.getpgid(0) == os.getpid():  # started by Moorage: leader of its own process group, which includes the CLI
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _remove_scratch() -> None:
    if folder := os.environ.get(SCRATCH):
        shutil.rmtree(folder, ignore_errors=True)


async def _main(out: TextIO) -> None:
    requests: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    threading.Thread(target=_read, args=(asyncio.get_running_loop(), requests), daemon=True).start()
    await serve(requests, out)


def main() -> None:
    """Serve one session."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of libraries must not mix with answers
    try:
        if not os.environ.get(HANDED) or _entered_own_network(out):
            asyncio.run(_main(out))
    finally:
        _remove_scratch()
        os._exit(0)  # threads of the SDK may hang together with the CLI


if __name__ == "__main__":
    main()
