"""Prefect, imported and yet not there until somebody imports it.

A process that is forked from one with Prefect imported is at once what it would have become: nothing finds Prefect
among its modules before it is asked for, and when it is, Prefect's settings and logging are made of the environment as
it is by then.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from moorage.hub import prefect_state


def hide(*packages: str) -> dict[str, ModuleType]:
    """Take packages, with all that is in them, out of the modules that are there."""
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}


class HiddenPrefect(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Brings the hidden modules back when the first of them is imported; for `sys.meta_path`."""

    def __init__(
        self,
        modules: dict[str, ModuleType],
        flows: dict[str, ModuleType] | None = None,
        made: prefect_state.Made | None = None,
    ) -> None:
        """`modules`, `flows`: what `hide` gave of Prefect, and of flows that it is needed for.

        `made`: settings and logging for the environment that is likely by then. None: there are none.
        """
        self._modules = modules
        self._flows = flows or {}
        self._made = made
        self._spec: importlib.machinery.ModuleSpec | None = None

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A hidden module as one that can be imported. None: it is another one."""
        if fullname in self._modules:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module as it was hidden."""
        self._spec = self._modules[spec.name].__spec__
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Bring all of them back, with the settings and the logging of the environment as it is by now."""
        module.__spec__ = self._spec
        sys.meta_path.remove(self)
        sys.modules.update(self._modules)
        before = _of_flows()
        if not (self._made and self._made.take()):
            prefect_state.renew()
        if self._flows and _of_flows() != before:
            warnings.filterwarnings("ignore", message=".* matches existing registered type")
            return  # they were made with other settings, and are imported anew
        sys.modules.update(self._flows)


def _of_flows() -> list[Any]:
    """The settings that flows and tasks are made with."""
    from prefect.settings import get_current_settings

    found = get_current_settings()
    return [getattr(found, name, None) for name in ("flows", "tasks", "results", "runner")]
