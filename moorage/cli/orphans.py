"""Removes the stacks whose process was killed, before a verb does its own work."""

from __future__ import annotations

import asyncio
import signal

from moorage.adapters.compose.orphan_processes import end_bearers
from moorage.cli.output import remark
from moorage.cli.world import open_world
from moorage.errors import MoorageError
from moorage.rules import addresses
from moorage.work.operations.orphans import orphans, remove_orphans


def end_orphans() -> None:
    """Remove orphaned stacks and report it; a failure is reported too, and does not stop the verb."""
    world = open_world()
    before = signal.getsignal(signal.SIGTERM)
    try:
        if orphans(world):  # else all test runs are still alive
            asyncio.run(remove_orphans(world, _end_command))
    except MoorageError as error:
        remark(f"note: {error}")
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_command(stack: str) -> None:
    """Report it, and end what the process had started: its environment contains the stack's unique name."""
    remark(f"removing {stack}: the process it belonged to was killed")
    end_bearers(addresses.STACK, stack)
