"""Intermediate containers: the engine's own builder makes one for each step, and leaves that of a failed build behind.

Which one it is stands only in the build's output, and a Dockerfile may print the same: a container is removed only if
it was created during the build, does not run, and is no service's. The id is written down while a build is under way,
so that it is found if the process was killed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from moorage.errors import MoorageError
from moorage.interfaces import World
from moorage.rules import labels

_RUNNING_IN = re.compile(r" ---> Running in ([0-9a-f]{12})")
_OF_CONTAINERS = frozenset({labels.COMPOSE_NUMBER, labels.STACK, labels.HELPER, labels.HOLDER})
"""Marks of what is somebody's. Others may come from the image that is built upon: Compose marks images too."""
_ENDING = ".building.json"
_ENDS_S, _POLL_S = 3.0, 0.1
"""How long a container may take to end after its build was broken off."""


@contextmanager
def removed(world: World, stack: str, service: str) -> Iterator[Callable[[str], None]]:
    """Gives what is to see each line of a build's output; if the block fails, the build's last container is removed."""
    name, began, last = f"generations/{stack}/{service}{_ENDING}", world.clock.now(), ""

    def look(line: str) -> None:
        nonlocal last
        if found := _RUNNING_IN.match(line):
            last = found[1]
            world.files.write(name, json.dumps({"began": began.isoformat(), "container": last}))

    try:
        yield look
    except BaseException:
        if last:
            with suppress(MoorageError):  # the build's own error says more
                _remove(world, last, began)
        raise
    finally:
        if last:
            world.files.remove(name)


def remove_left_behind(world: World, stack: str) -> None:
    """Remove those of builds whose process was killed. To be called with the stack's lock held."""
    names = [name for name in world.files.names(f"generations/{stack}") if name.endswith(_ENDING)]
    if names:
        world.compose.end_strays(stack)
    for name in names:
        with suppress(ValueError, LookupError, TypeError):  # cut off while it was written
            noted = json.loads(world.files.read(name) or "")
            _remove(world, str(noted["container"]), datetime.fromisoformat(noted["began"]))
        world.files.remove(name)


def _remove(world: World, container: str, began: datetime) -> None:
    deadline = world.clock.monotonic() + _ENDS_S
    while (found := world.engine.inspect(container)) and found.state == "running":
        if world.clock.monotonic() >= deadline:
            return
        time.sleep(_POLL_S)
    if found is None or found.created_at is None or found.created_at < began:
        return
    if not _OF_CONTAINERS & set(found.labels):
        world.engine.remove(found.id, volumes=True)
