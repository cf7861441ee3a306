"""The registry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from moorage.model.generation import GenerationRecord
from moorage.model.image import BuiltRecord
from moorage.model.lease import AddressLease, Lease, LeaseKey, Request, SubnetLease
from moorage.model.state import RunHead, RunOutcome, RunRecord, StackRecord
from moorage.model.unreadable import Unreadable


class Store(Protocol):
    """The registry: stacks, generations, leases, runs, timings. Every method is one transaction.

    An item that cannot be read is passed over in lists, told of, and among `unreadable`; one that is asked for by its
    name raises HomeError.
    """

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
        """Lease a port for each request, in order, in one write transaction. PortError: nothing was leased.

        A key that has a lease keeps it (sticky). `taken` are (port, protocol) that the engine publishes now; ports that
        the same stack has leased already do not count as taken. `strict`: the wanted port or PortError. `complete`, for
        runs: these are all requests of their stack, so a lease without a request can be inherited.
        """

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
        """What `lease` would return; stores nothing."""

    def leases(self, stack: str | None = None) -> tuple[Lease, ...]:
        """The leases of a stack, by port. None: of all stacks."""

    def release(self, keys: Sequence[LeaseKey]) -> None:
        """Release leases; a key without a lease is not an error."""

    def release_all(self, stack: str) -> None:
        """Release all leases of a stack, its subnets and addresses, also those that cannot be read."""

    def release_run(self, run: str) -> tuple[Lease, ...]:
        """Release the leases that an unfinished run acquired, and return them; leases that it moved are restored."""

    def subnets(self, stack: str | None = None) -> tuple[SubnetLease, ...]:
        """The subnets of a stack, by network. None: of all stacks."""

    def settle_subnets(
        self, stack: str, choose: Callable[[Collection[SubnetLease]], Collection[SubnetLease]]
    ) -> tuple[SubnetLease, ...]:
        """Replace the subnets of a stack with what `choose` makes of those of all stacks, in one transaction.

        A subnet that another stack has on record is this one's afterwards. `choose` may be called more than once.
        """

    def restore(self, leases: Sequence[Lease]) -> tuple[Lease, ...]:
        """Record leases as they are, after the file was lost, and return those recorded.

        Leases whose key or port is already leased are left out.
        """

    def lease_again(self, leases: Sequence[Lease]) -> tuple[Lease, ...]:
        """Record leases of a run as they are, in place of those that their keys have, and return those recorded.

        Until the run has ended, nobody else gets the ports that it gives up. Left out is what another key has.
        """

    def commit_run(self, run: str) -> None:
        """Keep the leases that the run acquired until they are released."""

    def commit(
        self,
        run: RunRecord,
        stack: StackRecord,
        generations: Sequence[GenerationRecord],
        released: Sequence[LeaseKey],
    ) -> None:
        """Commit a run in one write transaction: afterwards all of it is on record, or nothing.

        Saves stack and generations, keeps the run's leases, releases `released`, closes the run. The stack's directory
        does not count as missing any more.
        """

    def stack(self, name: str) -> StackRecord | None:
        """A stack. None: it is not on record."""

    def stacks(self) -> tuple[StackRecord, ...]:
        """All stacks, ordered by name."""

    def names(self) -> frozenset[str]:
        """Names of all stacks on record, also of those whose record cannot be read: what they have is not left over."""

    def save_stack(self, record: StackRecord) -> None:
        """Add or replace a stack."""

    def forget_stack(self, name: str) -> None:
        """Remove the stack with its generations and timings; leases stay until they are released.

        Its runs stay for a while: they say what happened to it (`run_heads(None)`).
        """

    def generations(self, stack: str) -> tuple[GenerationRecord, ...]:
        """The generations of a stack that are on record, newest first."""

    def numbers(self, stack: str) -> frozenset[int]:
        """Numbers of all generations on record, also of those whose record cannot be read."""

    def save_generation(self, record: GenerationRecord) -> None:
        """Add or replace a generation, by (stack, number)."""

    def forget_generation(self, stack: str, number: int) -> None:
        """Remove a generation; no error if it is gone."""

    def open_run(self, record: RunRecord) -> None:
        """Record a run before its first effect."""

    def update_run(self, record: RunRecord) -> None:
        """Replace the record of a run."""

    def close_run(self, run: str, outcome: RunOutcome, now: datetime) -> None:
        """The run has ended."""

    def unfinished_runs(self, stack: str | None = None) -> tuple[RunRecord, ...]:
        """Runs that have not ended, oldest first."""

    def run(self, identifier: str) -> RunRecord | None:
        """One run, by its whole id. None: not on record."""

    def runs(self, stack: str | None, limit: int | None = 50) -> tuple[RunRecord, ...]:
        """The last runs, newest first. `stack` None: of all stacks. `limit` None: all that are kept."""

    def run_heads(self, stack: str | None) -> tuple[RunHead, ...]:
        """All runs of a stack, without what they did, newest first. None: of all stacks that are not on record."""

    def forget_runs(self, runs: Sequence[str]) -> None:
        """Remove runs by id; one that has not ended stays, one that is gone is no error."""

    def add_timing(
        self, stack: str, service: str, generation: int, phase: str, seconds: float, now: datetime, *, keep: int = 50
    ) -> None:
        """How long a phase (`create`, `start`, `ready`) of a service took; only the last `keep` of it stay."""

    def old_timings(self, stack: str, age: timedelta) -> int:
        """How many timings of a stack are older than its newest one by more than `age`."""

    def forget_timings(self, stack: str, age: timedelta) -> None:
        """Remove those."""

    def timings(self, stack: str, service: str, phase: str, limit: int = 10) -> tuple[float, ...]:
        """The latest timings of a phase, newest first."""

    def addresses(self, stack: str | None = None) -> tuple[AddressLease, ...]:
        """The addresses that a stack keeps, by network and service. None: of all stacks."""

    def save_addresses(self, stack: str, leases: Collection[AddressLease]) -> None:
        """All that a stack keeps, in place of what it kept."""

    def note_built(self, image_id: str, stack: str, now: datetime) -> None:
        """Moorage has built an image for a stack. Only the last 5,000 stay on record."""

    def built_images(self) -> tuple[BuiltRecord, ...]:
        """The images that Moorage has built, whether they are still there or not."""

    def forget_built(self, image_ids: Sequence[str]) -> None:
        """They are gone; one that is not on record is no error."""

    def note_peaks(self, stack: str, peaks: Mapping[str, int], now: datetime, *, valid: timedelta) -> None:
        """Memory that a replica of each service takes, in bytes. What is on record stays if it is more and `valid`."""

    def peaks(self, stack: str) -> dict[str, int]:
        """Service → most bytes of memory that a replica of it was seen to take."""

    def note_missing(self, stack: str, path: str, now: datetime) -> datetime:
        """The directory of a stack is not there: since when that is known. `now`: for the first time."""

    def missing_since(self, stack: str, path: str) -> datetime | None:
        """Since when it is known that the directory is not there. None: it was not looked for, or was there again."""

    def forget_missing(self, stack: str) -> None:
        """The directory is there; no error if it was never missing."""

    def unreadable(self, stack: str | None = None) -> tuple[Unreadable, ...]:
        """What cannot be read of a stack: its record, generations, leases, unfinished runs. None: of all stacks."""

    @property
    def set_aside(self) -> Path | None:
        """Path of a damaged file that any process has set aside, until `rebuilt`. None: nothing was lost."""

    def rebuilt(self) -> None:
        """Call when everything lost with the damaged file is on record again."""

    def close(self) -> None:
        """Close the file; the next call opens it again."""
