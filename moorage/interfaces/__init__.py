"""The protocols of the outside world, one file each. `moorage/world.py` chooses the adapters.

Adapters and fakes subclass their protocol and inherit its docstrings; they say only what differs.
"""

from moorage.interfaces.builder import ImageBuilder
from moorage.interfaces.clock import Clock
from moorage.interfaces.compose import Compose, Reading
from moorage.interfaces.contexts import Contexts
from moorage.interfaces.engine import Engine
from moorage.interfaces.files import Files
from moorage.interfaces.lock import Lock
from moorage.interfaces.output import Line
from moorage.interfaces.prober import Prober
from moorage.interfaces.store import Store
from moorage.interfaces.streams import Streams
from moorage.interfaces.volumes import Volumes
from moorage.interfaces.world import World

__all__ = [
    "Clock",
    "Compose",
    "Contexts",
    "Engine",
    "Files",
    "ImageBuilder",
    "Line",
    "Lock",
    "Prober",
    "Reading",
    "Store",
    "Streams",
    "Volumes",
    "World",
]
