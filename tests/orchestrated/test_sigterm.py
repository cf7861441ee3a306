"""A cancel arrives twice: the run looks at its own state, and the worker sends a signal, perhaps after the end."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.architecture.house import ROOT

pytestmark = [pytest.mark.orchestrated]

PROGRAM = """
    import asyncio, os, signal, sys
    from moorage.errors import InterruptedRunError
    from tasks.cancelling import _sigterm_cancels

    def crash(*_):
        print("Crashed")

    signal.signal(signal.SIGTERM, crash)

    async def body():
        if sys.argv[1] == "done":
            return
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if sys.argv[1] == "undone":
                raise InterruptedRunError("undone") from None
            raise

    async def main():
        doing = asyncio.ensure_future(body())
        await asyncio.sleep(0)
        try:
            with _sigterm_cancels(doing):
                if sys.argv[1] != "done":
                    os.kill(os.getpid(), signal.SIGTERM)
                await doing
        except (asyncio.CancelledError, InterruptedRunError):
            print("cancelled")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)

    asyncio.run(main())
"""


@pytest.mark.parametrize(("how", "said"), [("cut off", "cancelled"), ("undone", "cancelled"), ("done", "Crashed")])
def test_a_signal_after_the_end_of_a_cancelled_run_changes_nothing(how: str, said: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == [said], "a run that is done has Prefect's own handler again"
