"""Labels that mark Moorage's objects on an engine. Only objects with these labels are ever changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256

from moorage.model.unreadable import Unreadable
from moorage.rules.excerpts import quoted

STACK = "moorage.stack"
HOME = "moorage.home"
"""The `$MOORAGE_HOME` that has the stack on record: several homes may share one engine."""
DIRECTORY = "moorage.directory"
DIGEST = "moorage.digest"
BUILD = "moorage.build"
"""On a built image: digest of its sources."""
BASES = "moorage.bases"
"""On a built image: the ids of the images that it was built on, by reference, as JSON. Empty: it was not there then."""
TEMPLATE = "moorage.template"
"""On an image that was built without a Dockerfile: its recipe, `python` or `node`."""

HELPER = "moorage.helper"
"""On a helper container that only mounts a volume: the stack that it works for."""
HOLDER = "moorage.holder"
"""On a placeholder container, which an undo creates to hold anonymous volumes: id of the container they belonged to."""

RUN = "moorage.run"
"""On the container of a `moorage run`: a mark that the Compose process that attends to it has in its command line."""

COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_NUMBER = "com.docker.compose.container-number"
COMPOSE_ONEOFF = "com.docker.compose.oneoff"
COMPOSE_HOOK = "com.docker.compose.hook"
"""On an init container: `pre_start`. It has no number, but its place in the list."""
COMPOSE_HOOK_INDEX = "com.docker.compose.hook-index"
COMPOSE_VOLUME = "com.docker.compose.volume"
COMPOSE_HASH = "com.docker.compose.config-hash"
"""Compose's hash of what it created a container from. It ignores containers without one."""
COMPOSE_DIRECTORY = "com.docker.compose.project.working_dir"
_LONGEST_PART = 100
"""Two of them, and the rest, fit into the 255 characters of an image name."""


def number_of(marks: Mapping[str, str]) -> int:
    """Number of a replica, from 1; of an init container its place in the list, from 0. Raises ValueError."""
    if words := problem(marks):
        raise ValueError(words)
    return int(_number(marks)[1])


def problem(marks: Mapping[str, str]) -> str | None:
    """What of a container's labels makes no sense. Anybody may give a container any label. None: nothing."""
    label, text = _number(marks)
    return None if re.fullmatch(r"[0-9]{1,9}", text) else f"its label {label} is {quoted(text)}, not a number"


def senseless(container: str, stack: str, words: str) -> Unreadable:
    """A container whose labels make no sense; `container`: its name."""
    hint = f"Compose did not make it so: `docker rm {container}` removes it, if nobody needs it."
    return Unreadable(where=f"container {quoted(container)} of stack {stack}", what=words, hint=hint, stack=stack)


def _number(marks: Mapping[str, str]) -> tuple[str, str]:
    """The label that has the number, and the number."""
    label = COMPOSE_NUMBER if marks.get(COMPOSE_NUMBER) else COMPOSE_HOOK_INDEX
    return label, marks.get(label) or "1"


def ours(labels: Mapping[str, str], stack: str, home: str) -> bool:
    """True if a stack of this home created it."""
    return labels.get(STACK) == stack and labels.get(HOME) == home


def pin_tag(stack: str, service: str, image_id: str) -> str:
    """Our own tag for an image that a generation uses: derived from its content, so that it changes only with it."""
    return f"{pin_prefix(stack)}{_part(service)}:id-{image_id.removeprefix('sha256:')[:12]}"


PINNED = "moorage/"
"""What the pinned image tags of all stacks begin with."""


def pin_prefix(stack: str) -> str:
    """Prefix of all pinned image tags of a stack."""
    return f"{PINNED}{_part(stack)}/"


def _part(name: str) -> str:
    """A name as one component of an image name, one to one.

    Components are lower case, with single separators between letters (distribution reference grammar), which stack and
    service names need not follow: other characters become hexadecimal, names that are too long a hash.
    """
    safe = re.fullmatch(r"[a-wyz0-9][a-z0-9]*(?:[-_][a-z0-9]+)*", name)
    part = name if safe else "x" + name.encode().hex()
    return part if len(part) <= _LONGEST_PART else "xh" + sha256(name.encode()).hexdigest()
