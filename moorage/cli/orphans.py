"""Removing the stacks whose process was killed, before a verb does its own work."""

from __future__ import annotations

import asyncio
import signal

from moorage.cli.output import remark
from moorage.errors import MoorageError
from moorage.work.temporary import orphans, remove_orphans
from moorage.world import open_world


def end_orphans() -> None:
    """Remove them and say so; a failure is said too, and does not keep the verb from its work."""
    world = open_world()
    before = signal.getsignal(signal.SIGTERM)
    try:
        if orphans(world):  # else: test runs that live
            asyncio.run(remove_orphans(world, _say))
    except MoorageError as error:
        remark(f"note: {error}")
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(stack: str) -> None:
    remark(f"removing {stack}: the process it belonged to was killed")
