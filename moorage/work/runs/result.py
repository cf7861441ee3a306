"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moorage.model.state import StackState, StackStatus
from moorage.work.runs.run import Run


@dataclass(frozen=True)
class Result:
    """The run, and how the stack is after it."""

    run: Run
    status: StackStatus | None = None
    """None: it is gone."""
    changed: tuple[str, ...] = ()
    """The services that were started."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data: what a flow returns, and `--json` prints."""
        run = {"flow_run_id": self.run.flow_run_id}
        if self.status is None:
            return {"stack": self.run.stack, "state": StackState.ABSENT.value, **run}
        return {**self.status.model_dump(mode="json"), "changed": list(self.changed), **run}
