"""Moorage: container stacks that come up the way a database commits.

Reading order: `model` (what things are), `rules` (what to do), `work` (doing it), `world` (what it is done with),
then `flows/up.py`, which reads like the sentence you would say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moorage.running_stack import RunningStack
    from moorage.stack import Build, DependsOn, HealthCheck, Service, Stack

__version__ = "0.1.0"
__all__ = ["Build", "DependsOn", "HealthCheck", "RunningStack", "Service", "Stack", "__version__"]


def __getattr__(name: str) -> Any:
    """The public names, each loaded when it is first used: `import moorage` stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("moorage.running_stack" if name == "RunningStack" else "moorage.stack"), name)
