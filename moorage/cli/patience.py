"""`--lock-timeout`, the same for every verb that changes a stack."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter, validators

from moorage.settings import settings


@Parameter(name="*")
@dataclass(frozen=True)
class LockTimeout:
    """How long to wait for another run of the same stack."""

    lock_timeout: Annotated[
        float | None,
        Parameter(
            help="Longest wait for another run of the same stack, in seconds (default: MOORAGE_LOCK_TIMEOUT_S, 60).",
            validator=validators.Number(gte=0),
        ),
    ] = None

    def apply(self) -> None:
        """Set it for this process and the flow in it. Call this before a world is opened."""
        if self.lock_timeout is not None:
            os.environ["MOORAGE_LOCK_TIMEOUT_S"] = str(self.lock_timeout)
            settings.cache_clear()
