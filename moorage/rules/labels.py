"""Labels that mark what is ours on an engine. Only what bears them is ever touched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256

STACK = "moorage.stack"
HOME = "moorage.home"
"""Which `$MOORAGE_HOME` holds the stack's record: several may share one engine."""
DIRECTORY = "moorage.directory"
DIGEST = "moorage.digest"
BUILD = "moorage.build"
"""On a built image: digest of what it was built from."""
TEMPLATE = "moorage.template"
"""On an image that was built without a Dockerfile: by which recipe, `python` or `node`."""

HELPER = "moorage.helper"
"""On a container that is only there to reach a volume: the stack on whose behalf."""
HOLDER = "moorage.holder"
"""On a container that an undo has made to hold anonymous volumes: id of the one they belonged to."""

COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_NUMBER = "com.docker.compose.container-number"
COMPOSE_ONEOFF = "com.docker.compose.oneoff"
COMPOSE_VOLUME = "com.docker.compose.volume"
COMPOSE_HASH = "com.docker.compose.config-hash"
"""Of what Compose made a container from. It sees no container without one."""
COMPOSE_DIRECTORY = "com.docker.compose.project.working_dir"
_LONGEST_PART = 100
"""Two of them and what else there is fit into the 255 characters of an image name."""


def ours(labels: Mapping[str, str], stack: str, home: str) -> bool:
    """True: this home's stack made it."""
    return labels.get(STACK) == stack and labels.get(HOME) == home


def pin_tag(stack: str, service: str, image_id: str) -> str:
    """Our own name of an image a generation uses: by content, so that it stays when nothing changed."""
    return f"{pin_prefix(stack)}{_part(service)}:id-{image_id.removeprefix('sha256:')[:12]}"


def pin_prefix(stack: str) -> str:
    """How all pinned image tags of a stack begin."""
    return f"moorage/{_part(stack)}/"


def _part(name: str) -> str:
    """A name as one component of an image name, one to one.

    Components are lower case and separators stand single between letters (distribution reference grammar), which
    stack and service names need not obey: what does not fit is hexadecimal, what is too long a hash.
    """
    safe = re.fullmatch(r"[a-wyz0-9][a-z0-9]*(?:[-_][a-z0-9]+)*", name)
    part = name if safe else "x" + name.encode().hex()
    return part if len(part) <= _LONGEST_PART else "xh" + sha256(name.encode()).hexdigest()
