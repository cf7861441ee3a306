"""What a client does to a stack: a verb of `moorage`, and what it says becomes an operation of the history."""

from __future__ import annotations

import io
import itertools
import json
import random
import subprocess
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from tests.command_server import CLOCK_VARIABLE
from tests.torture.history import Operation, Outcome, Recorder
from tests.torture.stack_model import APPLIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.torture.arena import Arena

_UNCHANGED = {2, 3, 7}
"""Exit codes of what did not begin: bad input, no port, stack busy."""
_UNDONE = {4, 5, 8, 130}
"""Of `up`, `scale` and `rollback` besides: all is as it was before. `down` and the like may have stopped halfway."""
WEIGHTS = {
    "up": 14, "same": 6, "detached": 4, "scale": 5, "rollback": 6, "restart": 5, "stop": 5, "start": 6, "down": 5,
    "down -v": 3, "write": 10, "run": 5, "snapshot": 6, "restore": 6, "status": 12, "ask": 14, "ls": 3, "ports": 4,
    "sweep": 3,
}  # fmt: skip


JUDGE = "judge"
"""The client who looks in peace."""
DAY_S, CLOCKS_WRONG = 86_400, 0.05


@dataclass
class Verbs:
    """All that clients share: the place, the history, and what may be restored."""

    arena: Arena
    recorder: Recorder
    clocks: random.Random
    """Whose clock is wrong."""
    snapshots: dict[str, list[tuple[Path, str, bytes]]] = field(default_factory=dict)
    """Stack → archives that are done: file, value, content."""
    runs: list[str] = field(default_factory=list)
    """Flow runs that were given to the worker."""
    wrong: list[str] = field(default_factory=list)
    """What no order of operations could excuse."""
    _count: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def do(self, client: str, rng: random.Random) -> None:
        """One verb, drawn."""
        name = rng.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
        stack = rng.choice(self.arena.stacks)
        if name == "detached" and not self.arena.engine:
            name = "up"
        special: dict[str, Callable[[str, str, random.Random], None]] = {
            "ask": lambda c, s, _: self.ask(c, s),
            "status": lambda c, s, _: self.status(c, s),
            "snapshot": lambda c, s, _: self.snapshot(c, s),
            "restore": self.restore,
            "detached": self.detached,
        }
        if name in special:
            special[name](client, stack, rng)
        else:
            self._plain(client, stack, name, rng)

    def _plain(self, client: str, stack: str, name: str, rng: random.Random) -> None:
        number = next(self._count)
        value, version = f"w{number}", number if name == "up" else rng.choice(self.arena.versions(stack))
        file = self.arena.define(stack, version) if name in ("up", "same", "scale") else ""
        writing = f"echo {value} > /data/.{value} && mv /data/.{value} /data/value"
        workers = 1 + rng.randint(0, 1) if name == "scale" else 1
        given: dict[str, Any] = {"version": version, "workers": workers} if file else {}
        arguments = {
            "up": ["up", "-f", file, "--json"],
            "same": ["up", "-f", file, "--json"],
            "scale": ["scale", f"worker={workers}", "-f", file, "--json"],
            "down -v": ["down", "--volumes", "--json"],
            "write": ["exec", "-T", "db", "--", "sh", "-c", writing],
            "run": ["run", "--no-deps", "db", "--", "sh", "-c", writing],
            "ports": ["ports", "--all", "--json"],
        }.get(name, [name, "--json"])
        verb = {"same": "up", "down -v": "down"}.get(name, name)
        if name == "down -v":
            given = {"volumes": True}
        if name in ("write", "run"):
            given = {"value": value}
        operation = self.recorder.begin(Operation(client, verb, stack, given))
        answer = self._answer(operation, *arguments)
        if operation.outcome is Outcome.OK and verb in APPLIES and isinstance(answer, dict):
            operation.saw["generation"] = answer["generation"]
            if answer["state"] != "running":
                self.wrong.append(f"it is done, and not everything runs: {operation}")
        if operation.outcome is Outcome.OK and verb == "ports":
            self.exclusive(answer)
        self.recorder.end(operation)

    def _answer(self, operation: Operation, *arguments: str) -> Any:
        """Run it; sets the outcome, and gives what it wrote as JSON."""
        try:
            code, out, err = self.arena.run(operation.stack, *arguments, **self._clock(operation))
        except subprocess.TimeoutExpired:
            self.wrong.append(f"it hangs: {operation}")
            operation.saw["exit"] = "hangs"
            return None
        operation.outcome = _outcome(operation.verb, code, out + err)
        operation.saw |= {"exit": code, "said": (err if code else "")[-1500:]}
        if "Traceback (most recent call last)" in err:
            self.wrong.append(f"a traceback: {operation}\n{err[-3000:]}")
        try:
            return json.loads(out)
        except json.JSONDecodeError:
            return None

    def _clock(self, operation: Operation) -> dict[str, str]:
        """Now and then somebody's clock is wrong."""
        if operation.client == JUDGE or self.clocks.random() > CLOCKS_WRONG:
            return {}
        operation.given["clock"] = self.clocks.choice((-DAY_S, -60, 60, DAY_S))
        return {CLOCK_VARIABLE: str(operation.given["clock"])}

    def first(self, stack: str) -> None:
        """One `up`, so that there is something to torture."""
        self._plain(JUDGE, stack, "up", random.Random(0))

    def generations(self, stack: str) -> Operation:
        """The numbers of all that were committed, oldest first, and which is the current one."""
        operation = self.recorder.begin(Operation(JUDGE, "history", stack))
        answer = self._answer(operation, "history", "--json")
        if operation.outcome is Outcome.OK:
            kept = {one["number"]: one["outcome"] for one in answer if one["outcome"] in ("current", "superseded")}
            current = next((number for number, outcome in kept.items() if outcome == "current"), None)
            operation.saw |= {"numbers": sorted(kept), "generation": current}
        self.recorder.end(operation)
        return operation

    def status(self, client: str, stack: str) -> Operation:
        """What Moorage says of it."""
        operation = self.recorder.begin(Operation(client, "status", stack))
        answer = self._answer(operation, "status", "--json")
        if operation.outcome is Outcome.OK:
            operation.saw |= {"generation": answer["generation"], "state": answer["state"]}
        self.recorder.end(operation)
        return operation

    def ask(self, client: str, stack: str) -> Operation:
        """What the service itself says, at the port that is leased to it: who it is, its version, its value."""
        with self.arena.store() as store:
            ports = [lease.port for lease in store.leases(stack) if lease.key.service == "db"]
        operation = self.recorder.begin(Operation(client, "ask", stack, {"ports": ports}, outcome=Outcome.FAIL))
        if ports:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/cgi-bin/all", timeout=20) as answer:
                    who, version, *value = answer.read().decode().split()
            except (OSError, ValueError, urllib.error.URLError) as error:
                operation.saw["said"] = str(error)
            else:
                operation.outcome = Outcome.OK
                operation.saw |= {"version": int(version), "value": "".join(value), "who": who}
        self.recorder.end(operation)
        if operation.saw.get("who", stack) != stack:
            self.wrong.append(f"somebody else answers at its port: {operation}")
        return operation

    def snapshot(self, client: str, stack: str) -> None:
        """Its archive is opened with other means: what it holds is what the operation saw."""
        file = self.arena.place / f"{stack}-{next(self._count)}.tar.zst"
        operation = self.recorder.begin(Operation(client, "snapshot", stack, {"file": file.name}))
        self._answer(operation, "volumes", "snapshot", "data", "--output", str(file), "--json")
        if operation.outcome is Outcome.OK:
            operation.saw["value"] = value_in(file)
            self.snapshots.setdefault(stack, []).append((file, operation.saw["value"], file.read_bytes()))
        self.recorder.end(operation)

    def restore(self, client: str, stack: str, rng: random.Random) -> None:
        """One of its own snapshots, if it has any yet."""
        many = list(self.snapshots.get(stack, ()))
        if not many:
            self.snapshot(client, stack)
            return
        file, value, _ = rng.choice(many)
        operation = self.recorder.begin(Operation(client, "restore", stack, {"file": file.name, "value": value}))
        self._answer(operation, "volumes", "restore", str(file), "--force", "--json")
        self.recorder.end(operation)

    def detached(self, client: str, stack: str, _rng: random.Random) -> None:
        """An `up` that the hub's worker carries out."""
        version = next(self._count)
        file = self.arena.define(stack, version)
        operation = self.recorder.begin(Operation(client, "up", stack, {"version": version, "workers": 1, "hub": True}))
        answer = self._answer(operation, "up", "-f", file, "--detach", "--json")
        if operation.outcome is not Outcome.OK or not answer:
            operation.outcome = Outcome.INFO  # who asked was killed; the run may have been made
        else:
            run = answer["flow_run_id"]
            self.runs.append(run)
            operation.outcome = Outcome.INFO
            waiting = Operation(client, "wait", stack)
            self._answer(waiting, "wait", run, "--timeout", "100", "--json")
            # 5 is a run that failed, and one whose worker died: of that nobody knows what it did.
            operation.saw = {**waiting.saw, "run": run}
            if waiting.outcome is Outcome.OK:
                operation.outcome = Outcome.OK
        self.recorder.end(operation)

    def exclusive(self, leases: list[dict[str, Any]]) -> None:
        """No port is leased twice."""
        ports = [one["port"] for one in leases]
        if len(set(ports)) != len(ports):
            self.wrong.append(f"one port, two leases: {leases}")


def _outcome(verb: str, code: int, said: str) -> Outcome:
    if code == 0:
        return Outcome.OK
    if code in _UNCHANGED or (code in _UNDONE and verb in {*APPLIES, "restore"}):
        return Outcome.FAIL
    if verb in ("write", "run") and ("is not running" in said or "is not created" in said):
        return Outcome.FAIL
    return Outcome.FAIL if verb in ("status", "history", "ls", "ports") else Outcome.INFO


def value_in(file: Path) -> str:
    """What a snapshot holds."""
    raw = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(file.read_bytes())).read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith("/value"):
                read = archive.extractfile(member)
                return read.read().decode().strip() if read else ""
    return ""
