"""What a run of the tests leaves behind if it is interrupted or fails: found by the run's mark, and ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_GRACE_S = 5.0
PROJECT_LABEL = "com.docker.compose.project"


def end(session: Path, stacks: str) -> None:
    """End the processes that have the session's directory in their environment, then remove its stacks."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes(session):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + _GRACE_S
        while processes(session) and time.monotonic() < deadline:
            time.sleep(0.1)
    remove_stacks(stacks)


def processes(session: Path) -> list[int]:
    """All but this one whose environment names the session's directory: every descendant, detached or not."""
    mark = os.fsencode(session)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def remove_stacks(prefix: str) -> None:
    """Containers, networks, volumes and image tags with the prefix. Without an engine there is none."""
    import docker
    from docker.errors import DockerException

    with suppress(DockerException, OSError), closing(docker.from_env(timeout=20)) as client:
        remove(client, prefix)


def everything(client: Any, prefix: str) -> dict[str, dict[str, str]]:
    """Id → name of containers, networks and volumes whose name, or the name of whose stack, has the prefix.

    Three questions to the engine: the SDK's own lists ask again for each container, also for those of other tests.
    """
    found = {
        "containers": [(one["Id"], one["Names"], one["Labels"]) for one in client.api.containers(all=True)],
        "networks": [(one["Id"], [one["Name"]], one["Labels"]) for one in client.api.networks()],
        "volumes": [(one["Name"], [one["Name"]], one["Labels"]) for one in client.api.volumes()["Volumes"] or ()],
    }
    return {
        kind: {id_: _name(names) for id_, names, labels in many if _has(names, labels or {}, prefix)}
        for kind, many in found.items()
    }


def remove(client: Any, prefix: str) -> None:
    """All of it, and image tags."""
    left = everything(client, prefix)
    _each(left["containers"], lambda one: client.api.remove_container(one, force=True, v=True))
    _each(left["networks"], client.api.remove_network)
    _each(left["volumes"], client.api.remove_volume)
    # Not `client.images.list()`: it asks for each image anew, and another test may have removed it meanwhile.
    tags = [tag for image in client.api.images() for tag in image["RepoTags"] or () if f"/{prefix}" in f"/{tag}"]
    _each(tags, lambda tag: client.api.remove_image(tag, force=True))


def _each(many: Iterable[str], do: Callable[[str], Any]) -> None:
    from docker.errors import NotFound

    for one in many:
        with suppress(NotFound):
            do(one)


def _name(names: Sequence[str] | None) -> str:
    """A container that is being removed has none."""
    return (names or [""])[0].removeprefix("/")


def _has(names: Sequence[str] | None, labels: Mapping[str, str], prefix: str) -> bool:
    return _name(names).startswith(prefix) or labels.get(PROJECT_LABEL, "").startswith(prefix)
