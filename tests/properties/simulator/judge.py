"""What has to be so after each effect, whenever a run says how it ended, and at the end of all.

apart      only who holds a stack's lock changes the stack
ports      one port, one lease; what is there has its lease, and nobody else has that
strangers  nobody's objects are touched
committed  what is committed is only left by what was asked for
data       no volume is emptied without its readable copy
claim      how a run says that it ended is how it ended
fails      nothing fails without a cause
end        after one sweep nothing is half done, and nothing is left over
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moorage.errors import BusyError, MoorageError, UndoIncompleteError
from moorage.model.state import RunOutcome, RunRecord
from moorage.model.step import Operation
from moorage.model.volume import ROOT
from moorage.rules import attachments, labels, undo
from moorage.testing import Killed
from moorage.work.definitions import generations
from moorage.work.volumes.archive import Reader
from tests.properties.memory import HOME, Look, look
from tests.properties.simulator.faults import Kind

if TYPE_CHECKING:
    from tests.properties.simulator.commands import Command
    from tests.properties.simulator.stage import Stage

Content = dict[str, str]
_COMPARED = ("containers", "networks", "volumes", "tags", "leases", "generation", "init_containers")
_FORGETTING = ("store commit", "store forget_stack")


@dataclass
class Opened:
    """What a run found when it began."""

    look: Look
    content: dict[str, Content]
    disturbed: bool = False
    """A stranger was at the stack meanwhile."""
    by: Command | None = None
    struck: bool = False
    """Something was made to fail while it was carried out or recovered."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Of its volumes: a volume that is emptied is another one afterwards."""
    late: dict[str, Content] = field(default_factory=dict)
    """Of a restore: what a stranger wrote into a volume that was about to be emptied. If it never was, this may stay."""
    overtaken: bool = False
    """Of a restore: a stranger has written to the volume since it was copied. Once it is emptied, the copy counts."""


class Judge:
    """Looks after each effect; tells the scheduler of the first thing that is wrong."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.stacks = ("shop", "cart")
        self.known = {stack: self._signature(stack) for stack in self.stacks}
        self.strangers = self._strangers()
        self.opened: dict[str, Opened] = {}
        self.finished: dict[str, RunOutcome | None] = {}
        self.archived: dict[str, list[Content]] = {stack: [] for stack in self.stacks}
        self.given_up: set[str] = set()
        """Stacks whose recovery could not be done, for a cause; what is left of them is for people."""
        self.troubled: set[str] = set()
        """Stacks that a stranger was at."""
        self.unreadable: set[str] = set()
        """Stacks of which a stranger has damaged a file of Moorage's: what cannot be read cannot be put back."""

    def wrong(self, kind: str, words: str) -> None:
        self.stage.scheduler.fail(f"{kind}: {words}")

    # --- what there is

    def _signature(self, stack: str) -> dict[str, Any]:
        machine, store = self.stage.machine, self.stage.store
        boxes = [*machine.of_project(stack), *machine.init_boxes(stack)]
        return {
            "boxes": [(box.id, box.name, box.state, box.bound, tuple(box.networks)) for box in boxes],
            "networks": {n: one.id for n, one in machine.networks.items() if labels.ours(one.labels, stack, HOME)},
            "volumes": {
                n: (one.token, dict(one.files))
                for n, one in machine.volumes.items()
                if labels.ours(one.labels, stack, HOME)
            },
            "leases": store.leases(stack),
            "record": store.stack(stack),
            "generations": store.generations(stack),
            "tags": sorted(tag for tag in machine.tags if tag.startswith(labels.pin_prefix(stack))),
            "open": sorted(run.id for run in store.unfinished_runs(stack)),
        }

    def _strangers(self) -> Any:
        machine, store = self.stage.machine, self.stage.store
        foreign = [box for box in machine.boxes.values() if box.labels.get(labels.COMPOSE_PROJECT) not in self.stacks]
        theirs = {volume for box in foreign for volume in box.mounts.values()}
        prefixes = (*(labels.pin_prefix(stack) for stack in self.stacks), "far:")

        def ours(marks: Any) -> bool:
            return any(labels.ours(marks, stack, HOME) for stack in self.stacks)

        return (
            [(box.id, box.name, box.state, box.bound, box.started_at) for box in foreign],
            sorted(name for name, one in machine.networks.items() if not ours(one.labels)),
            sorted(
                (name, one.token)
                for name, one in machine.volumes.items()
                if name in theirs or not (ours(one.labels) or machine.is_anonymous(name))
            ),
            sorted((tag, image) for tag, image in machine.tags.items() if not tag.startswith(prefixes)),
            [lease for lease in store.leases() if lease.key.stack not in self.stacks],
        )

    # --- after each effect

    def before(self, command: Command, _words: str) -> None:
        """What a stranger has done since is not the command's."""

    def look(self, command: Command, words: str) -> None:
        """Look at everything after an effect of a command."""
        if self.stage.scheduler.wrong:
            return
        for stack in self.stacks:
            before, now = self.known[stack], self._signature(stack)
            if before != now:
                self.known[stack] = now
                self._apart(command, stack, words, before, now)
                self._committed(stack, words, before, now)
                self._data(command, stack, before["volumes"], now["volumes"])
        if words.startswith("store"):
            self._runs(command)
        for stack in self.stacks:
            self._leased(stack)
            self._on_file(command, stack, words)
            self._anonymous(command, stack, words)
        self._one_port_one_lease()
        if words.startswith("disk discard"):
            self._needed(command)
        if words.startswith("disk put_in_place"):
            self._archived()
        if (strangers := self._strangers()) != self.strangers:
            self.wrong("strangers", f"touched by {command.name}: {words}: {self.strangers} -> {strangers}")
        if command.calls.refused:
            for run in self._open_runs(command):
                run.struck = True

    def _open_runs(self, command: Command) -> list[Opened]:
        owned = [stack for stack in self.stacks if self.stage.locks.owner(stack) is command.process]
        return [self.opened[id_] for stack in owned for id_ in self.known[stack]["open"] if id_ in self.opened]

    def accept(self, stack: str) -> None:
        """What a stranger has done to a stack is as it is."""
        before, self.known[stack] = self.known[stack], self._signature(stack)
        for run in self.stage.store.unfinished_runs(stack):
            if run.id in self.opened and run.arguments.get("emptied"):
                self.opened[run.id].late = self._contents(stack)
            elif run.id in self.opened:
                if run.operation == Operation.RESTORE and Path(run.arguments["safety"]).exists():
                    self.opened[run.id].overtaken = True
                self.opened[run.id].content = self._contents(stack)
                found = look(self.stage.machine, self.stage.store, stack)
                if before["boxes"] == self.known[stack]["boxes"]:
                    self._refresh(self.opened[run.id], found)

    def _refresh(self, opened: Opened, found: Look) -> None:
        """Files that a program wrote while a run was under way stay when it is undone."""
        opened.disturbed = opened.disturbed or opened.look.volumes != found.volumes

    def disturbed(self, *stacks: str) -> None:
        """A stranger was at them: what runs on them need not come to what it would else."""
        for stack in stacks:
            self.troubled.add(stack)
            for run in self.stage.store.unfinished_runs(stack):
                if run.id in self.opened:
                    self.opened[run.id].disturbed = True
        for command in self.stage.commands:
            command.disturbed = True

    def damaged(self, stack: str) -> None:
        """A stranger has damaged a file of Moorage's."""
        self.unreadable.add(stack)
        self.disturbed(stack)

    def open_runs(self) -> frozenset[str]:
        """Of all stacks, by their ids."""
        return frozenset(run.id for run in self.stage.store.unfinished_runs())

    def _apart(self, command: Command, stack: str, words: str, before: Any, now: Any) -> None:
        if command.process.orphan and not command.outlived & set(now["open"]):
            self.wrong("apart", f"a child of {command.name}, which died, went on at {stack} after its run: {words}")
        if self.stage.locks.owner(stack) is not command.process and not command.process.orphan:
            what = [part for part in before if before[part] != now[part]]
            self.wrong("apart", f"{command.name} changed {', '.join(what)} of {stack} without its lock: {words}")

    def _committed(self, stack: str, words: str, before: Any, now: Any) -> None:
        was, is_ = (one["record"].generation if one["record"] else None for one in (before, now))
        if was == is_:
            return
        if not words.startswith(_FORGETTING):
            self.wrong("committed", f"{stack} went from generation {was} to {is_} by {words}")
        if was is not None and is_ is None and not self._is_asked(stack, Operation.DOWN, "volumes", "release_ports"):
            self.wrong("committed", f"generation {was} of {stack} was forgotten, and nobody asked for that")

    def _on_file(self, command: Command, stack: str, words: str) -> None:
        """What the registry says of a generation is there: its file is written first, and removed last."""
        there = set(self.stage.files.names(f"generations/{stack}"))
        numbers = [one.number for one in self.stage.store.generations(stack)]
        if lost := [one for one in numbers if f"generations/{stack}/{one}.json" not in there]:
            self.wrong("committed", f"{command.name}: generations {lost} of {stack} have no file: {words}")

    def _anonymous(self, command: Command, stack: str, words: str) -> None:
        """While a start may have to be undone, the anonymous volumes of before are there."""
        for run in self.stage.store.unfinished_runs(stack):
            if run.operation != Operation.UP or run.id not in self.opened:
                continue
            if lost := undo.volumes_before(run) - self.stage.machine.volumes.keys():
                self.wrong("data", f"{command.name}: {sorted(lost)} of {stack} are gone: {words}")

    def _is_asked(self, stack: str, operation: Operation, *keys: str) -> bool:
        runs = self.stage.store.unfinished_runs(stack)
        return any(run.operation == operation and all(run.arguments.get(key) for key in keys) for run in runs)

    def _leased(self, stack: str) -> None:
        """What is there has its lease, but while a start goes on or is undone."""
        machine, store = self.stage.machine, self.stage.store
        leases = store.leases()
        own = {port for lease in leases if lease.key.stack == stack for port in lease.ports}
        others = {port for lease in leases if lease.key.stack != stack for port in lease.ports}
        boxes = [box for box in machine.of_project(stack) if labels.HOLDER not in box.labels]
        if bound := {port.published for box in boxes for port in box.bound} & others:
            self.wrong("ports", f"{stack} runs at {sorted(bound)}, which another stack has leased")
        starting = any(run.operation in ("up", "rollback") for run in store.unfinished_runs(stack))
        if starting or stack in self.given_up:
            return
        if lost := {port.first for box in boxes for port in box.ports if port.first} - own:
            self.wrong("ports", f"containers of {stack} are made for {sorted(lost)}, which it has not leased")

    def _one_port_one_lease(self) -> None:
        held = [(port, one.key.protocol) for one in self.stage.store.leases() for port in one.ports]
        if len(held) != len(set(held)):
            self.wrong("ports", f"leased twice: {sorted(one for one in held if held.count(one) > 1)}")

    # --- data

    def _contents(self, stack: str) -> dict[str, Content]:
        machine = self.stage.machine
        return {n: dict(v.files) for n, v in machine.volumes.items() if labels.ours(v.labels, stack, HOME)}

    def _tokens(self, stack: str) -> dict[str, int]:
        machine = self.stage.machine
        return {n: v.token for n, v in machine.volumes.items() if labels.ours(v.labels, stack, HOME)}

    def _data(self, command: Command, stack: str, before: dict[str, Any], now: dict[str, Any]) -> None:
        runs = self.stage.store.unfinished_runs(stack)
        for name, (_, files) in before.items():
            if not files or (name in now and now[name][1] == files):
                continue
            if self._is_asked(stack, Operation.DOWN, "volumes") or command.verb == "prune":
                continue
            if any(run.operation == Operation.UP and name not in run.before["volumes"] for run in runs):
                continue  # it came with the start that is undone
            if not any(run.operation == Operation.RESTORE for run in runs):
                self.wrong("data", f"{command.name} emptied {name} of {stack}")
        for run in runs:
            if run.operation == Operation.RESTORE and run.id in self.opened:
                self._safe(run, now)

    def _safe(self, run: RunRecord, now: dict[str, Any]) -> None:
        """The content of before is in the volume, or can be read."""
        volume = run.arguments["volume"]["name"]
        opened = self.opened[run.id]
        if opened.overtaken and run.arguments.get("emptied") and (copy := archived(Path(run.arguments["safety"]))):
            opened.content[volume], opened.overtaken = copy, False
        content = opened.content.get(volume) or {}
        if not content or run.stack in self.unreadable or (volume in now and now[volume][1] == content):
            return
        if archived(Path(run.arguments["safety"])) != content:
            self.wrong("data", f"{volume} is not as before, and what was in it cannot be read")

    def _needed(self, command: Command) -> None:
        """A recovery of a restore on record would put the volume back from its copy; what is left of one stays."""
        for run in self.stage.store.runs(None, None):
            if run.operation != Operation.RESTORE or run.outcome not in (None, RunOutcome.RECOVERY_INCOMPLETE):
                continue
            if run.arguments.get("emptied") and not Path(run.arguments["safety"]).exists():
                self.wrong("data", f"{command.name} discarded the copy that the restore of {run.stack} needs")

    def _archived(self) -> None:
        for stack in self.stacks:
            found = archived(self.stage.archive_of(stack))
            if found is not None and found not in self.archived[stack]:
                self.archived[stack].append(found)

    # --- runs

    def _runs(self, command: Command) -> None:
        for run in reversed(self.stage.store.runs(None, None)):
            if run.stack not in self.stacks:
                continue
            if run.finished_at is None:
                if run.id not in self.opened:
                    self.opened[run.id] = Opened(
                        look(self.stage.machine, self.stage.store, run.stack), self._contents(run.stack)
                    )
                    self.opened[run.id].by = command
                    self.opened[run.id].tokens = self._tokens(run.stack)
                    self.opened[run.id].struck = command.calls.refused
                    self.opened[run.id].disturbed = run.stack in self.troubled
                continue
            if run.id in self.finished:
                rolled_on = (self.finished[run.id], run.outcome) == (RunOutcome.COMMITTED, RunOutcome.RECOVERED)
                if self.finished[run.id] != run.outcome and not (rolled_on and run.operation == Operation.ROLLBACK):
                    self.wrong("claim", f"{run.operation} was {self.finished[run.id]}, and became {run.outcome}")
                continue
            self.finished[run.id] = run.outcome
            if run.id not in self.opened:
                self.wrong("claim", f"{run.operation} of {run.stack} has ended before it began")
                continue
            opened = self.opened[run.id]
            opened.struck = opened.struck or command.calls.refused
            self._claim(command, run, opened)

    def _claim(self, command: Command, run: RunRecord, opened: Opened) -> None:
        """How a run says that it ended is how it ended."""
        outcome, operation = run.outcome, Operation(run.operation)
        if outcome == RunOutcome.RECOVERY_INCOMPLETE:
            self.given_up.add(run.stack)
            if not (opened.struck or opened.disturbed or run.stack in self.troubled):
                self.wrong("fails", f"{operation} of {run.stack} was given up without a cause")
            if len(command.calls.struck) == 1 and command.calls.struck[0] in (Kind.REFUSED, Kind.LOST_ANSWER):
                self.wrong("fails", f"{operation} of {run.stack} was given up for one call that failed")
            if self.stage.engine_is_away:
                self.wrong("fails", f"{operation} of {run.stack} was given up while the engine was away")
            return
        if opened.disturbed or run.stack in self.given_up:
            return
        undone = outcome == RunOutcome.UNDONE or (outcome == RunOutcome.RECOVERED and operation == Operation.UP)
        done = outcome in (RunOutcome.COMMITTED, RunOutcome.RECOVERED)
        problem = ""
        if operation == Operation.RESTORE and outcome in (
            RunOutcome.UNDONE,
            RunOutcome.COMMITTED,
            RunOutcome.RECOVERED,
        ):
            problem = self._of_restore(run, opened)
        elif undone:
            problem = self._difference(run.stack, opened.look)
        elif operation == Operation.ROLLBACK and outcome == RunOutcome.RECOVERED:
            problem = self._inconsistent(run.stack) and self._difference(run.stack, opened.look)
        elif done or (outcome == RunOutcome.FAILED and operation == Operation.DOWN):
            problem = self._of_done(command, run, operation, opened)
        if problem:
            self.wrong("claim", f"{operation} of {run.stack} ended as {outcome} ({command.name}): {problem}")

    def _difference(self, stack: str, before: Look) -> str:
        now = look(self.stage.machine, self.stage.store, stack)
        different = [part for part in _COMPARED if getattr(now, part) != getattr(before, part)]
        return "; ".join(f"{part}: {getattr(before, part)} -> {getattr(now, part)}" for part in different)

    def _of_done(self, command: Command, run: RunRecord, operation: Operation, opened: Opened) -> str:
        stack, now = run.stack, look(self.stage.machine, self.stage.store, run.stack)
        names = set(run.arguments.get("services") or ())
        match operation:
            case Operation.UP:
                return self._inconsistent(stack) or self._not_as_written(command, now)
            case Operation.ROLLBACK:
                return self._inconsistent(stack)
            case Operation.DOWN:
                return self._not_down(run, now, opened, names)
            case Operation.STOP:
                on = [one[0] for one in now.containers if one[3] == "runs" and (not names or one[1] in names)]
                return f"{on} still run" if on else ""
            case Operation.START | Operation.RESTART:
                off = [one[0] for one in now.containers if one[3] == "off" and (not names or one[1] in names)]
                changed = now.volumes != opened.look.volumes or now.generation != opened.look.generation
                return f"{off} do not run" if off else "volumes or generation changed" if changed else ""
            case Operation.SNAPSHOT:
                content = self._contents(stack).get(f"{stack}_data", {})
                if run.outcome == RunOutcome.COMMITTED and content not in self.archived[stack]:
                    return "the snapshot is not what is in the volume"
                return self._difference(stack, opened.look)
        return ""

    def _not_down(self, run: RunRecord, now: Look, opened: Opened, names: set[str]) -> str:
        if names:
            return "its containers are still there" if names & {one[1] for one in now.containers} else ""
        if now.containers or now.networks or now.init_containers:
            return "something is still there"
        if run.arguments.get("release_ports") and now.leases:
            return "its ports are still leased"
        if not run.arguments.get("release_ports") and now.leases != opened.look.leases:
            return f"its ports have changed: {opened.look.leases} -> {now.leases}"
        if run.arguments.get("volumes"):
            return "its volumes are still there" if self._contents(run.stack) else ""
        return "" if now.volumes == opened.look.volumes else "its volumes have changed"

    def _of_restore(self, run: RunRecord, opened: Opened) -> str:
        volume, stack = run.arguments["volume"]["name"], run.stack
        content, then = self._contents(stack).get(volume), opened.content.get(volume)
        if run.outcome == RunOutcome.COMMITTED and content not in self.archived[stack]:
            return "the content is not that of the snapshot"
        never_emptied = self._tokens(stack).get(volume) == opened.tokens.get(volume)
        if never_emptied and content == opened.late.get(volume):
            then = content
        if run.outcome != RunOutcome.COMMITTED and content != then:
            return f"the content is not that of before: {content}, not {then}"
        now = look(self.stage.machine, self.stage.store, stack)
        ran, runs = ({one[0]: one[3] for one in each.containers} for each in (opened.look, now))
        return "" if ran == runs else f"other services run: {ran} -> {runs}"

    def _not_as_written(self, command: Command, now: Look) -> str:
        if command.verb != "up":
            return ""
        machine = self.stage.machine
        written = command.how["services"]
        wanted = {(name, machine.tags.get(one["image"])) for name, one in written.items()}
        found = {(one[1], one[4]) for one in now.containers}
        if found != wanted:
            return f"not as written: {found}, not {wanted}"
        for one in now.containers:
            if dict(one[5]) != (written[one[1]].get("environment") or {}) or one[3] == "off":
                return f"{one[0]} is not as written"
        return ""

    def _inconsistent(self, stack: str) -> str:
        """Why what is there is not the current generation. Empty: it is."""
        stage, store = self.stage, self.stage.store
        world = stage.world()
        generation = generations.current(world, stack)
        if generation is None:
            return "there is no generation"
        boxes = stage.machine.of_project(stack)
        digests = {box.labels[labels.COMPOSE_SERVICE]: box.labels.get(labels.DIGEST) for box in boxes}
        if digests != {name: d for name, d in generation.digests.items() if generation.services[name].replicas}:
            return "the containers are not of the current generation"
        if attachments.off(generation.config, world.engine.observe(stack)):
            return "some are off their networks"
        mappings = {(one.service, one.target) for s in generation.services.values() for one in s.ports}
        leases = store.leases(stack)
        if {(one.key.service, one.key.target) for one in leases} != mappings:
            return "the leases are not those of the current generation"
        if any(one.run for one in leases):
            return "leases are not held for good"
        leased = {port for one in leases for port in one.ports}
        if {port.published for box in boxes for port in box.bound} != leased:
            return "other ports are published than leased"
        if {tag for one in generation.images.values() for tag in [one.tag]} - set(self._signature(stack)["tags"]):
            return "an image of it is not pinned"
        return ""

    # --- ends

    def ended(self, command: Command) -> None:
        """A command has ended by itself."""
        if self.stage.scheduler.wrong:
            return
        error = command.error
        if isinstance(error, Killed):
            return
        if command.verb == "foreign" and error:
            self.wrong("harness", f"{command.name}: {error!r}")
            return
        caused = command.calls.refused or command.disturbed
        own = [one for one in self.stage.store.unfinished_runs() if one.id in self.opened]
        is_open = any(self.opened[one.id].by is command and one.outcome is None for one in own)
        if is_open and (error is None or getattr(error, "fields", {}).get("undone") is True):
            self.wrong("claim", f"{command.name} says that it is over, and its run is open")
        opening = any(words.startswith("store open_run") for words in command.calls.struck_at)
        if is_open and opening and command.calls.struck == [Kind.LOST_ANSWER]:
            self.wrong("claim", f"{command.name} has opened a run that nobody knows of: {error}")
        self._blamed(command, error)
        if error and not isinstance(error, MoorageError) and "CancelledError" not in type(error).__name__:
            self.wrong("fails", f"{command.name}: {type(error).__name__} came out: {error}")
        damaged = self.unreadable if command.verb == "sweep" else command.stack in self.unreadable
        if isinstance(error, UndoIncompleteError) and not (caused or damaged):
            self.wrong("fails", f"{command.name}: {error}")
        excused = caused or damaged or command.how.get("harmful") or self.given_up or self.stage.engine_back_s
        if error and command.verb == "up" and not excused and not isinstance(error, BusyError):
            self.wrong("fails", f"{command.name} failed without a cause: {error}")

    def _blamed(self, command: Command, error: BaseException | None) -> None:
        """A service that could be started is not said to be what failed, where the engine was away for a moment."""
        alone = command.calls.struck == [Kind.ENGINE_AWAY] and not (command.disturbed or command.how.get("harmful"))
        if alone and getattr(error, "fields", {}).get("reason") == "not started":
            self.wrong("fails", f"{command.name} takes an engine that is away for a service that cannot start: {error}")

    def at_the_end(self) -> None:
        """After one sweep that nothing happens to."""
        stage = self.stage
        if stage.scheduler.wrong:
            return
        if left := stage.store.unfinished_runs():
            self.wrong("end", f"still open: {[(run.operation, run.stack) for run in left]}")
        if stage.locks.table:
            self.wrong("end", f"locks are held: {list(stage.locks.table)}")
        for stack in self.stacks:
            self._left_over(stack)
            if stack not in self.given_up | self.unreadable and (problem := self._half_done(stack)):
                self.wrong("end", f"{stack}: {problem}")

    def _left_over(self, stack: str) -> None:
        stage = self.stage
        known = {one.number for one in stage.store.generations(stack)}
        files = [name for name in stage.files.names(f"generations/{stack}") if Path(name).name[0].isdigit()]
        if strays := [name for name in files if int(Path(name).name.partition(".")[0]) not in known]:
            self.wrong("end", f"files of no generation: {strays}")
        folder = stage.folder / "home" / "snapshots" / stack
        if left := [one.name for one in folder.iterdir() if one.name.endswith(".unfinished")]:
            self.wrong("end", f"half a copy is left: {left}")
        if left := [one.name for one in stage.folder.glob(".*.unfinished")]:
            self.wrong("end", f"half a snapshot is left: {left}")

    def _half_done(self, stack: str) -> str:
        now = look(self.stage.machine, self.stage.store, stack)
        boxes = self.stage.machine.of_project(stack)
        if any(labels.HOLDER in box.labels for box in boxes):
            return "a placeholder is left"
        if odd := [box.name for box in boxes if not box.name.startswith(stack)]:
            return f"temporary names: {odd}"
        if any(run for *_, run in now.leases):
            return f"leases of a run: {now.leases}"
        if now.init_containers:
            return f"init containers: {now.init_containers}"
        if now.generation[0] is None:
            left = {
                part: getattr(now, part) for part in ("containers", "networks", "tags", "leases") if getattr(now, part)
            }
            return f"never committed, and left: {left}" if left or now.generation[1] else ""
        return self._of_generation(stack, now)

    def _of_generation(self, stack: str, now: Look) -> str:
        """What is there is of the current generation, be it only a part of it, or nothing."""
        world = self.stage.world()
        kept = [generations.read(world, stack, number) for number in now.generation[1]]
        if not all(kept):
            return "a generation has no file"
        used = {image.tag for one in kept if one for image in one.images.values()}
        if used != set(now.tags):
            return f"tags: {sorted(now.tags)}, not {sorted(used)}"
        current = generations.current(world, stack)
        if current is None:
            return f"generation {now.generation[0]}, the current one, is gone"
        mappings = {(one.service, one.target) for s in current.services.values() for one in s.ports}
        if not {(key.service, key.target) for key, *_ in now.leases} <= mappings:
            return f"leases of nothing: {now.leases}"
        boxes = self.stage.machine.of_project(stack)
        wrong = [
            b.name
            for b in boxes
            if b.labels.get(labels.DIGEST) != current.digests.get(b.labels[labels.COMPOSE_SERVICE])
        ]
        return f"not of the current generation: {wrong}" if wrong else ""


def archived(path: Path) -> Content | None:
    """What is in a snapshot. None: it cannot be read."""
    try:
        with Reader(path) as reader:
            reader.verify()
            return {
                info.name.removeprefix(f"{ROOT}/"): b"".join(content).decode()
                for info, content in reader.members()
                if info.isreg()
            }
    except MoorageError:
        return None
