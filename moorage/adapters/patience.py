"""Time limits that grow while this machine is busy."""

from __future__ import annotations

import os

from moorage.rules.patience import extended_s


def patient_s(limit_s: float) -> float:
    """The limit as it is now, in seconds: longer if more processes want to run than this machine has processors for.

    To be asked again when it has passed: the load of a machine is known late. The load is the average of a minute;
    a system that tells none counts as idle.
    """
    try:
        load = os.getloadavg()[0]
    except OSError:
        return limit_s
    return extended_s(limit_s, load, os.cpu_count() or 1)
