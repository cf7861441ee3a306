"""The registry, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from moorage.interfaces import Store
from moorage.model.generation import GenerationRecord
from moorage.model.image import BuiltRecord
from moorage.model.lease import AddressLease, Lease, LeaseKey, Request, SubnetLease
from moorage.model.state import RunHead, RunOutcome, RunRecord, StackRecord
from moorage.model.unreadable import Unreadable
from moorage.rules import ports
from moorage.rules.ports import KnownLeases, LeaseChange, PortView


class MemoryStore(Store):
    """The registry in dictionaries; safe across threads of one process."""

    def __init__(self, any_port: range = range(20000, 30000)) -> None:
        self._any_port = any_port
        self._mutex = threading.RLock()
        self._held: dict[LeaseKey, LeaseChange] = {}
        self._subnets: dict[tuple[str, str], SubnetLease] = {}
        self._stacks: dict[str, StackRecord] = {}
        self._generations: dict[tuple[str, int], GenerationRecord] = {}
        self._runs: dict[str, RunRecord] = {}
        self._missing: dict[str, tuple[str, datetime]] = {}
        self._addresses: list[AddressLease] = []
        self._built: dict[str, BuiltRecord] = {}
        self._peaks: dict[tuple[str, str], tuple[int, datetime]] = {}
        self._timings: list[tuple[tuple[str, str, str], float, datetime]] = []

    def lease(
        self,
        requests: Sequence[Request],
        *,
        run: str | None,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        strict: bool = False,
        complete: bool = False,
        now: datetime,
    ) -> tuple[Lease, ...]:
        with self._mutex:
            market = PortView(bindable, self._leased(), taken, self._any_port, strict)
            holdings = ports.allocate(requests, self._held, market, run, now, complete=complete)
            for holding in holdings:
                if holding.previous:
                    self._held.pop(holding.previous.key, None)
                self._held[holding.lease.key] = holding
            return tuple(holding.lease for holding in holdings)

    def preview(
        self,
        requests: Sequence[Request],
        *,
        taken: frozenset[tuple[int, str]],
        bindable: Callable[[int, str, str], bool],
        strict: bool = False,
        complete: bool = False,
        now: datetime,
    ) -> tuple[Lease, ...]:
        with self._mutex:
            market = PortView(bindable, self._leased(), taken, self._any_port, strict)
            return tuple(
                holding.lease for holding in ports.allocate(requests, self._held, market, None, now, complete=complete)
            )

    def leases(self, stack: str | None = None) -> tuple[Lease, ...]:
        with self._mutex:
            found = [holding.lease for key, holding in self._held.items() if stack in (None, key.stack)]
        return tuple(sorted(found, key=_by_port))

    def release(self, keys: Sequence[LeaseKey]) -> None:
        with self._mutex:
            for key in keys:
                self._held.pop(key, None)

    def release_all(self, stack: str) -> None:
        with self._mutex:
            self.release([lease.key for lease in self.leases(stack)])
            self._subnets = {key: one for key, one in self._subnets.items() if key[0] != stack}
            self._addresses = [one for one in self._addresses if one.stack != stack]

    def release_run(self, run: str) -> tuple[Lease, ...]:
        with self._mutex:
            undone = [holding for holding in self._held.values() if holding.lease.run == run]
            for holding in undone:
                del self._held[holding.lease.key]
                if holding.restored:
                    self._held[holding.restored.lease.key] = holding.restored
        return tuple(sorted((holding.lease for holding in undone if holding.given_back), key=_by_port))

    def subnets(self, stack: str | None = None) -> tuple[SubnetLease, ...]:
        with self._mutex:
            return tuple(self._subnets[key] for key in sorted(self._subnets) if stack in (None, key[0]))

    def settle_subnets(
        self, stack: str, choose: Callable[[Collection[SubnetLease]], Collection[SubnetLease]]
    ) -> tuple[SubnetLease, ...]:
        with self._mutex:
            chosen = {one.subnet: one for one in choose(tuple(self._subnets.values()))}
            kept = [one for one in self._subnets.values() if one.stack != stack and one.subnet not in chosen]
            self._subnets = {(one.stack, one.network): one for one in (*kept, *chosen.values())}
            return self.subnets(stack)

    def addresses(self, stack: str | None = None) -> tuple[AddressLease, ...]:
        with self._mutex:
            found = [one for one in self._addresses if stack in (None, one.stack)]
        return tuple(sorted(found, key=lambda one: (one.stack, one.network, one.service, one.subnet)))

    def save_addresses(self, stack: str, leases: Collection[AddressLease]) -> None:
        with self._mutex:
            self._addresses = [*(one for one in self._addresses if one.stack != stack), *leases]

    def commit_run(self, run: str) -> None:
        with self._mutex:
            for key, holding in self._held.items():
                if holding.lease.run == run:
                    self._held[key] = LeaseChange(holding.lease.model_copy(update={"run": None}))

    def restore(self, leases: Sequence[Lease]) -> tuple[Lease, ...]:
        with self._mutex:
            restored = ports.compatible(leases, self._held.values())
            self._held.update({lease.key: LeaseChange(lease) for lease in restored})
            return restored

    def lease_again(self, leases: Sequence[Lease]) -> tuple[Lease, ...]:
        with self._mutex:
            changed = ports.in_place_of(leases, self._held)
            self._held.update({holding.lease.key: holding for holding in changed})
            return tuple(holding.lease for holding in changed)

    def commit(
        self,
        run: RunRecord,
        stack: StackRecord,
        generations: Sequence[GenerationRecord],
        released: Sequence[LeaseKey],
    ) -> None:
        with self._mutex:
            self.save_stack(stack)
            for generation in generations:
                self.save_generation(generation)
            self.commit_run(run.id)
            self.forget_missing(stack.name)
            self.release(released)
            self.update_run(run)

    def stack(self, name: str) -> StackRecord | None:
        return self._stacks.get(name)

    def stacks(self) -> tuple[StackRecord, ...]:
        with self._mutex:
            return tuple(self._stacks[name] for name in sorted(self._stacks))

    def names(self) -> frozenset[str]:
        with self._mutex:
            return frozenset(self._stacks)

    def save_stack(self, record: StackRecord) -> None:
        with self._mutex:
            self._stacks[record.name] = record

    def forget_stack(self, name: str) -> None:
        with self._mutex:
            self._stacks.pop(name, None)
            self._missing.pop(name, None)
            self._generations = {key: kept for key, kept in self._generations.items() if key[0] != name}
            self._timings = [timing for timing in self._timings if timing[0][0] != name]
            self._peaks = {key: kept for key, kept in self._peaks.items() if key[0] != name}

    def generations(self, stack: str) -> tuple[GenerationRecord, ...]:
        with self._mutex:
            found = [record for record in self._generations.values() if record.stack == stack]
        return tuple(sorted(found, key=lambda record: -record.number))

    def numbers(self, stack: str) -> frozenset[int]:
        return frozenset(record.number for record in self.generations(stack))

    def save_generation(self, record: GenerationRecord) -> None:
        with self._mutex:
            self._generations[record.stack, record.number] = record

    def forget_generation(self, stack: str, number: int) -> None:
        with self._mutex:
            self._generations.pop((stack, number), None)

    def open_run(self, record: RunRecord) -> None:
        self.update_run(record)

    def update_run(self, record: RunRecord) -> None:
        with self._mutex:
            self._runs[record.id] = record

    def close_run(self, run: str, outcome: RunOutcome, now: datetime) -> None:
        """The run has ended; no error if it is not on record."""
        with self._mutex:
            if run in self._runs:
                self._runs[run] = self._runs[run].model_copy(update={"outcome": outcome, "finished_at": now})

    def unfinished_runs(self, stack: str | None = None) -> tuple[RunRecord, ...]:
        with self._mutex:
            return tuple(run for run in self._runs.values() if run.finished_at is None and stack in (None, run.stack))

    def run(self, identifier: str) -> RunRecord | None:
        """One run, by its whole id. None: not on record."""
        return self._runs.get(identifier)

    def runs(self, stack: str | None, limit: int | None = 50) -> tuple[RunRecord, ...]:
        """The last runs, newest first. `stack` None: of all stacks. `limit` None: all that are kept."""
        with self._mutex:
            found = [run for run in self._runs.values() if stack in (None, run.stack)]
        return tuple(reversed(found))[:limit]

    def run_heads(self, stack: str | None) -> tuple[RunHead, ...]:
        """All runs of a stack, without what they did, newest first. None: of all stacks that are not on record."""
        with self._mutex:
            found = [run.head for run in reversed(self._runs.values())]
            on_record = frozenset(self._stacks)
        return tuple(run for run in found if (run.stack not in on_record if stack is None else run.stack == stack))

    def forget_runs(self, runs: Sequence[str]) -> None:
        """Remove runs by id; one that has not ended stays, one that is gone is no error."""
        with self._mutex:
            for identifier in runs:
                if identifier in self._runs and self._runs[identifier].finished_at:
                    del self._runs[identifier]

    def add_timing(
        self, stack: str, service: str, generation: int, phase: str, seconds: float, now: datetime, *, keep: int = 50
    ) -> None:
        """How long a phase of a service took; only the last `keep` of it stay. The generation is not kept."""
        del generation
        key = (stack, service, phase)
        with self._mutex:
            self._timings.append((key, seconds, now))
            own = [timing for timing in self._timings if timing[0] == key]
            for old in own[:-keep]:
                self._timings.remove(old)

    def old_timings(self, stack: str, age: timedelta) -> int:
        """How many timings of a stack are older than its newest one by more than `age`."""
        return len(self._old_timings(stack, age))

    def forget_timings(self, stack: str, age: timedelta) -> None:
        """Remove those."""
        with self._mutex:
            for old in self._old_timings(stack, age):
                self._timings.remove(old)

    def _old_timings(self, stack: str, age: timedelta) -> list[tuple[tuple[str, str, str], float, datetime]]:
        with self._mutex:
            own = [timing for timing in self._timings if timing[0][0] == stack]
        newest = max((at for _, _, at in own), default=None)
        return [timing for timing in own if newest and timing[2] < newest - age]

    def timings(self, stack: str, service: str, phase: str, limit: int = 10) -> tuple[float, ...]:
        with self._mutex:
            found = [seconds for key, seconds, _ in self._timings if key == (stack, service, phase)]
        return tuple(reversed(found))[:limit]

    def note_built(self, image_id: str, stack: str, now: datetime) -> None:
        with self._mutex:
            self._built[image_id] = BuiltRecord(image_id=image_id, stack=stack, at=now)

    def built_images(self) -> tuple[BuiltRecord, ...]:
        with self._mutex:
            return tuple(self._built.values())

    def forget_built(self, image_ids: Sequence[str]) -> None:
        with self._mutex:
            for one in image_ids:
                self._built.pop(one, None)

    def note_peaks(self, stack: str, peaks: Mapping[str, int], now: datetime, *, valid: timedelta) -> None:
        with self._mutex:
            for service, found in peaks.items():
                known = self._peaks.get((stack, service))
                if known is None or found >= known[0] or known[1] < now - valid:
                    self._peaks[stack, service] = (found, now)

    def peaks(self, stack: str) -> dict[str, int]:
        with self._mutex:
            return {service: found for (name, service), (found, _) in self._peaks.items() if name == stack}

    def note_missing(self, stack: str, path: str, now: datetime) -> datetime:
        with self._mutex:
            known = self._missing.get(stack)
            if known is None or known[0] != path or known[1] > now:
                known = self._missing[stack] = (path, now)
            return known[1]

    def missing_since(self, stack: str, path: str) -> datetime | None:
        known = self._missing.get(stack)
        return known[1] if known and known[0] == path else None

    def forget_missing(self, stack: str) -> None:
        with self._mutex:
            self._missing.pop(stack, None)

    def unreadable(self, stack: str | None = None) -> tuple[Unreadable, ...]:
        """Empty: what is in memory can be read."""
        return ()

    @property
    def set_aside(self) -> Path | None:
        """None: nothing is ever lost."""
        return None

    def rebuilt(self) -> None:
        """Does nothing: nothing was lost."""

    def close(self) -> None:
        """Does nothing: there is no file."""

    def _leased(self) -> KnownLeases:
        leased = KnownLeases()
        for holding in self._held.values():
            for lease in holding.leases:
                leased.add(lease)
        return leased


def _by_port(lease: Lease) -> tuple[int, str, str]:
    return lease.port, lease.key.protocol, lease.host_ip
