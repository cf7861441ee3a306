"""Removing what is no longer needed of the past: runs, timings, failure reports. Each new one makes room for itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from moorage.interfaces import World
from moorage.model.state import RunHead
from moorage.rules import drift, retention
from moorage.rules.retention import Report


def make_room_for_runs(world: World, stack: str) -> None:
    """Forget the surplus runs and timings of a stack, and the runs of stacks that are gone. To be called with its lock.

    Raises nothing: a start does not fail over what is merely old; `sweep` tries again, and says so.
    """
    with suppress(Exception):
        forget_runs(world, [*surplus_runs(world, stack), *surplus_runs(world, None)])
        forget_timings(world, stack)


def make_room_for_reports(world: World, stack: str) -> None:
    """Remove the surplus failure reports of a stack, and of stacks that are gone. Raises nothing, as above."""
    with suppress(Exception):
        remove_reports(world, [*surplus_reports(world, stack), *surplus_reports(world, None)])


def surplus_runs(world: World, stack: str | None) -> tuple[RunHead, ...]:
    """The runs of a stack that can go. None: of all stacks that are not on record, taken together."""
    settings, now = world.settings, world.clock.now()
    heads = world.store.run_heads(stack)
    if stack is None:
        since = retention.before(now, settings.keep_gone_days)
        return retention.surplus_runs_of_gone(heads, settings.keep_runs, since)
    lately = now - timedelta(seconds=drift.FORGOTTEN_S)
    return retention.surplus_runs(heads, settings.keep_runs, retention.before(now, settings.keep_days), lately)


def forget_runs(world: World, runs: Sequence[RunHead]) -> None:
    """Take runs off the record; those that have not ended stay."""
    if runs:
        world.store.forget_runs([run.id for run in runs])


def old_timings(world: World, stack: str) -> int:
    """How many timings of a stack can go: those from long before its last start."""
    days = world.settings.keep_days
    return world.store.old_timings(stack, timedelta(days=days)) if days else 0


def forget_timings(world: World, stack: str) -> None:
    """Take them off the record."""
    if old_timings(world, stack):
        world.store.forget_timings(stack, timedelta(days=world.settings.keep_days))


def surplus_reports(world: World, stack: str | None) -> tuple[Report, ...]:
    """The failure reports of a stack that can go. None: of all stacks that are not on record, taken together."""
    settings, now = world.settings, world.clock.now()
    found = [report for name in world.files.names("failures") if (report := retention.report(name))]
    if stack is not None:
        own = [report for report in found if report.stack == stack]
        return retention.surplus_reports(own, settings.keep_failures, retention.before(now, settings.keep_days))
    on_record = world.store.names()
    gone = [report for report in found if report.stack not in on_record]
    return retention.surplus_reports(gone, settings.keep_failures, retention.before(now, settings.keep_gone_days))


def remove_reports(world: World, reports: Sequence[Report]) -> None:
    """Remove the files."""
    for report in reports:
        world.files.remove(report.name)
