"""Moorage: container stacks that come up the way a database commits.

Reading order: `model` (nouns), `rules` (decisions), `work` (effects), `world` (adapters), then `flows/up.py`, which
sums it up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moorage.running_stack import RunningStack
    from moorage.stack import Build, DependsOn, HealthCheck, Service, Stack

__version__ = "0.1.0"
__all__ = ["Build", "DependsOn", "HealthCheck", "RunningStack", "Service", "Stack", "__version__"]


def __getattr__(name: str) -> Any:
    """Public names, each loaded on first use, so that `import moorage` stays fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from moorage import systems

    systems.check()
    return getattr(import_module("moorage.running_stack" if name == "RunningStack" else "moorage.stack"), name)
