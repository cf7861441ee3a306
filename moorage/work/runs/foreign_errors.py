"""Exceptions that are not Moorage's: an adapter should have translated them, or they are our bugs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moorage.errors import MoorageError, RunError, said
from moorage.work.runs.run import Run

BUG = "This looks like a bug in Moorage: please report it."


@asynccontextmanager
async def foreign_errors_named() -> AsyncIterator[None]:
    """Decorates an operation: who calls it gets errors of Moorage only, whatever is raised outside of its frames."""
    try:
        yield
    except MoorageError:
        raise
    except Exception as error:
        raise RunError(said(error), hint=BUG, reason="unexpected") from error


def named(run: Run, error: Exception) -> RunError:
    """The error of a run that met one that is not ours; secrets are hidden in its words.

    One that is on record by now is not undone: it stays open, and the next command continues it.
    """
    hint = (
        BUG
        if run.record is None
        else f"The next command on {run.stack} carries it on, and so does `moorage sweep`. {BUG}"
    )
    return RunError(
        f"{run.stack}: {run.hide(said(error))}",
        hint=hint,
        stack=run.stack,
        reason="unexpected",
        undone=run.record is None,
    )
