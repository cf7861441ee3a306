"""The torture: clients and nemeses in rounds; after each round peace, one sweep, and judgement."""

from __future__ import annotations

import json
import random
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from moorage.rules import labels
from tests import leftovers
from tests.torture.arena import Arena, Bystander
from tests.torture.history import Operation, Outcome, Recorder, surroundings
from tests.torture.linear import TooManyConfigurationsError, check
from tests.torture.nemeses import Nemeses
from tests.torture.stack_model import EXCLUSIVE, READERS, Stack, StackModel, before_or_after
from tests.torture.verbs import JUDGE, Verbs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

CLIENTS = 8
ROUND_S = 40.0
RUNS_END_S = 60.0
"""How long flow runs that nobody waits for any more may go on in peace; one whose process is dead is left to the sweep."""
OPEN, TO_COME = ("PENDING", "RUNNING", "CANCELLING", "PAUSED"), ("SCHEDULED", "PENDING")
"""Prefect's types of states: begun and not ended; not begun, or not yet a process."""
ENGINES_OWN = frozenset({"bridge", "host", "none"})
"""The networks that every engine has."""
FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""Set for the process that carries out a flow run."""
CHANGES_NOTHING = frozenset({"ls", "ports", "sweep"})
"""In the history, but no part of the model: they are judged by what they say."""


@dataclass
class Report:
    """What is printed."""

    seed: int
    operations: Counter[str] = field(default_factory=Counter)
    nemeses: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    longest: int = 0
    """Operations of the longest history that was checked: a stack's, of one round."""
    open_runs: int = 0
    """Flow runs that Prefect takes for not ended after a sweep."""
    violations: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        """For the process that has started this one."""
        return json.dumps(vars(self), indent=1)


class Game:
    """One torture in one arena."""

    def __init__(self, arena: Arena, seed: int) -> None:
        self.arena, self.report = arena, Report(seed)
        self.recorder = Recorder(arena.place / "history.jsonl")
        self.verbs = Verbs(arena, self.recorder, random.Random(f"{seed}-clocks"))
        self.bystander = Bystander(arena)
        self.states = {stack: frozenset({Stack()}) for stack in arena.stacks}

    def play(self, seconds: float, round_s: float = ROUND_S, clients: int = CLIENTS) -> Report:
        """Rounds until the time is over, which begins when all stacks are up, or something is wrong."""
        try:
            self.bystander.create()
            with ThreadPoolExecutor() as pool:
                list(pool.map(self.verbs.first, self.arena.stacks))
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and not self.report.violations:
                self.report.rounds += 1
                self._chaos(min(round_s, max(deadline - time.monotonic(), 1.0)), clients)
                self._judge()
            self._end()
        except Exception:  # noqa: BLE001 - whatever it is, what was seen until then is reported
            self.report.violations.append(f"the torture itself broke off:\n{traceback.format_exc()}")
        finally:
            self.recorder.close()
        return self.report

    def _chaos(self, seconds: float, clients: int) -> None:
        over = threading.Event()
        turn = f"{self.report.seed}-{self.report.rounds}"
        nemeses = Nemeses(self.verbs, random.Random(f"{turn}-nemeses"), over, self.report.nemeses)

        def client(number: int) -> None:
            rng = random.Random(f"{turn}-{number}")
            while not over.is_set():
                self.verbs.do(f"client{number}", rng)

        with ThreadPoolExecutor(clients + 1) as pool:
            going = [pool.submit(client, number) for number in range(clients)]
            harm = pool.submit(nemeses.go_on)
            over.wait(seconds)
            over.set()
        for one in (*going, harm):
            one.result()

    def _judge(self) -> None:
        """Peace: all heals, the runs of the hub end, one sweep; then everything has to be in order."""
        self.recorder.note("peace")
        self._runs_end()
        self._sweep()
        if self.arena.engine and (left := self._runs(OPEN)):
            # Prefect was told when its server was dead: what Moorage says of it itself is right, and is judged below.
            self.report.open_runs += len(left)
            self.recorder.note("flow runs left open in Prefect", runs=left)
        settled = self.recorder.now()
        calm = [one for stack in self.arena.stacks for one in self._look(stack)]
        history = [one for one in self.recorder.take() if one not in calm]
        for one in history:
            self.report.operations[f"{one.verb} {one.outcome}"] += 1
            self.report.nemeses["set a clock wrong"] += "clock" in one.given
        for stack in self.arena.stacks:
            mine = [one for one in history if one.stack == stack and one.verb not in CHANGES_NOTHING]
            # What was open has happened by now or never will: what is seen in peace is judged by itself.
            seen = [one for one in calm if one.stack == stack]
            self._linearizable(stack, mine, settled) and self._linearizable(stack, seen, settled)
        self._invariants()
        self.report.violations += self.verbs.wrong
        self.verbs.wrong.clear()

    def _runs_end(self) -> None:
        """What the worker was given goes on in peace, and so does what somebody else still does."""
        if not self.arena.engine:
            return
        self.arena.must("hub", "start")
        deadline = time.monotonic() + RUNS_END_S
        while (self._at_work() or self._runs(TO_COME, self.verbs.runs)) and time.monotonic() < deadline:
            time.sleep(1.0)

    def _at_work(self) -> bool:
        """Whether a flow run's process lives, or another one that has a run which has not ended."""
        # Not what Prefect says: a run whose process was killed is Running for it, until two minutes without a heartbeat.
        if any(FLOW_RUN in (one.info["environ"] or ()) for one in psutil.process_iter(["environ"])):
            return True
        with self.arena.store() as store:
            return any(psutil.pid_exists(run.pid) for run in store.unfinished_runs())

    def _runs(self, types: Collection[str], wanted: Collection[str] | None = None) -> dict[str, str]:
        """Flow runs of these types, all or those that are `wanted`: id → name and state."""
        runs = json.loads(self.arena.must("runs", "--limit", "200", "--json"))
        return {
            one["id"]: f"{one['name']} {one['state']}"
            for one in runs
            if one["type"] in types and (wanted is None or one["id"] in wanted)
        }

    def _sweep(self) -> None:
        code, out, err = self.arena.run(self.arena.stacks[0], "sweep", "--json")
        if code:
            self.report.violations.append(f"the one sweep in peace: exit {code}\n{out}\n{err}")

    def _look(self, stack: str) -> list[Operation]:
        seen = [self.verbs.status(JUDGE, stack), self.verbs.ask(JUDGE, stack), self.verbs.generations(stack)]
        if seen[0].outcome is not Outcome.OK:
            self.report.violations.append(f"no status in peace: {seen[0]} {seen[0].saw}")
        elif seen[0].saw["state"] == "running" and seen[1].outcome is not Outcome.OK:
            self.report.violations.append(f"it runs, and does not answer: {seen[1]} {seen[1].saw}")
        return seen

    def _linearizable(self, stack: str, history: list[Operation], until: float) -> bool:
        surroundings(history, READERS, EXCLUSIVE, until)
        try:
            verdict = check(history, StackModel(), self.states[stack])
        except TooManyConfigurationsError as error:
            self.report.violations.append(f"{stack}: not decided: {error}")
            return False
        self.report.longest = max(self.report.longest, verdict.checked)
        if verdict.is_linearizable:
            self.states[stack] = verdict.states
            return True
        lines = "\n".join(map(str, history))
        possible = before_or_after(verdict.before)
        self.report.violations.append(
            f"{stack}: not linearizable at\n{verdict.stuck}\npossible until then: {possible}\n{lines}"
        )
        return False

    def _invariants(self) -> None:
        """What holds whatever the order was."""
        with self.arena.store() as store:
            for stack in self.arena.stacks:
                for run in store.unfinished_runs(stack):
                    self.report.violations.append(
                        f"{stack}: a run without an end after a sweep: {run.operation} {run.id}"
                    )
            self.verbs.exclusive([lease.model_dump() for lease in store.leases()])
            leases = {lease.port: lease.key.stack for lease in store.leases()}
        for stack, port in self._published():
            if leases.get(port) != stack:
                self.report.violations.append(f"{stack} publishes {port}, which is leased to {leases.get(port)}")
        if self.bystander.now() != self.bystander.before:
            self.report.violations.append(f"somebody else's things: {self.bystander.before} → {self.bystander.now()}")
        for file, _, content in (one for many in self.verbs.snapshots.values() for one in many):
            if file.read_bytes() != content:
                self.report.violations.append(f"a snapshot that was done has changed: {file}")

    def _published(self) -> Iterable[tuple[str, int]]:
        with closing(self.arena.client()) as client:
            for one in client.api.containers():
                stack = one["Labels"].get(leftovers.PROJECT_LABEL)
                if stack in self.arena.stacks:
                    yield from ((stack, port["PublicPort"]) for port in one["Ports"] if "PublicPort" in port)

    def _end(self) -> None:
        """Everything goes, and nothing may be left of it."""
        for stack in self.arena.stacks:
            code, out, err = self.arena.run(stack, "down", "--volumes", "--release-ports")
            if code:
                self.report.violations.append(f"{stack}: the last down: exit {code}\n{out}\n{err}")
        self.bystander.remove()
        left = [*self._on_the_engine(), *self._on_record()]
        self.report.violations += [f"left at the end: {one}" for one in left]

    def _on_the_engine(self) -> Iterable[str]:
        """What is there of the stacks; on an engine of its own, whatever is there."""
        mine = self.arena.stacks if not self.arena.engine else ("",)
        with closing(self.arena.client()) as client:
            for prefix in mine:
                for kind, found in leftovers.everything(client, prefix).items():
                    yield from (f"{kind}: {name}" for name in found.values() if name not in ENGINES_OWN)
            pins = tuple(labels.pin_prefix(stack) for stack in self.arena.stacks)
            for image in client.api.images():
                yield from (f"tag {tag}" for tag in image["RepoTags"] or () if tag.startswith(pins))

    def _on_record(self) -> Iterable[str]:
        with self.arena.store() as store:
            for stack in self.arena.stacks:
                kept = (
                    *store.leases(stack),
                    *store.unfinished_runs(stack),
                    *store.generations(stack),
                    store.stack(stack),
                )
                yield from (f"{stack}: {one!r}" for one in kept if one)
