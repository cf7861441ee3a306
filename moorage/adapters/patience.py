"""Time limits that grow while this machine is busy."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from moorage.rules.patience import extended_s, words

_SAY_S = 30.0


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


def more_s_than(limit_s: float) -> Callable[[float], float]:
    """For `moorage.bounded`: how much longer a program may take, given what it has taken; 0 or less: it is over."""
    return lambda waited_s: patient_s(limit_s) - waited_s


class Patience:
    """A wait: for as long as its limit, and longer while this machine is busy, which is then told, again and again.

    `what` is what has not happened yet, as in "the worker has not come online".
    """

    def __init__(self, what: str, limit_s: float, on_line: Callable[[str], None] = lambda _: None) -> None:
        self._what, self._limit_s, self._on_line = what, limit_s, on_line
        self._began = time.monotonic()
        self._until_s = self._say_at_s = limit_s

    def waited_s(self) -> float:
        """Since when it is waited, in seconds."""
        return time.monotonic() - self._began

    def lasts(self) -> bool:
        """False: it is over."""
        waited_s = self.waited_s()
        if waited_s >= self._until_s:
            self._until_s = patient_s(self._limit_s)
            if waited_s >= self._until_s:
                return False
        if waited_s >= self._say_at_s:
            self._say_at_s = waited_s + _SAY_S
            self._on_line(words(self._what, waited_s))
        return True
