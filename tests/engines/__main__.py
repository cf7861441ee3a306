"""`python -m tests.engines NAME PLACE ROOT`: one row, in namespaces that `within` makes.

The engine is started out of its root, the images are loaded, and the tests of each verb are run against it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests import nested
from tests.conftest import ROOT
from tests.engines.rooted import RootedEngine
from tests.engines.rows import ENVIRONMENT, row

_BUILDX_OF = {"build with RUN --mount": "newest-buildx"}


def within(command: list[str]) -> list[str]:
    """The command in namespaces of its own. When its first process ends, all others do, and mounts and network go.

    The first process ends with whoever has started it, however that ends.
    """
    namespaces = ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    # A shell comes first: it lets go of the children of killed processes, as the first process has to.
    return [
        "setpriv",
        "--pdeathsig",
        "KILL",
        *namespaces,
        "bash",
        "-c",
        'ip link set lo up && "$@"; exit $?',
        "bash",
        *command,
    ]


def main(name: str, place: Path, root: Path) -> None:
    """Play a row. What came of it is in `place`: the log of the engine, and of each run of pytest its outcomes and output."""
    own = place / "engine"
    own.mkdir()
    engine = RootedEngine(own, root, row(name))
    engine.mount()
    engine.start()
    (place / "answers").touch()
    client = engine.client()
    (place / "version.json").write_text(json.dumps(client.version()))
    for archive in sorted(place.glob("*.image.tar")):
        client.images.load(archive.read_bytes())
    client.close()
    environment = _environment(place, engine.address)
    verbs = json.loads((place / "verbs.json").read_text())
    for buildx, own, chosen in _sessions(verbs):
        _run(place, chosen, {**environment, **own}, place / buildx)
    engine.stop(signal.SIGTERM)


def _environment(place: Path, address: str) -> dict[str, str]:
    """Of the tests: this engine, and of the user's Docker nothing."""
    docker = place / "docker"
    docker.mkdir()
    (place / "tmp").mkdir()
    own = nested.environment()
    kept = {key: value for key, value in own.items() if not key.startswith(("DOCKER_", "BUILDX_", "BUILDKIT_"))}
    return {**kept, "DOCKER_HOST": address, "DOCKER_CONFIG": str(docker), "TMPDIR": str(place / "tmp")}


def _sessions(verbs: dict[str, list[str]]) -> list[tuple[str, dict[str, str], list[str]]]:
    """Verbs of one environment in one run of pytest, which starts one hub: buildx, variables, verbs."""
    usual = [verb for verb in verbs if verb not in ENVIRONMENT]
    found = [("own-buildx", {}, usual)] if usual else []
    special = [verb for verb in verbs if verb in ENVIRONMENT]
    return [*found, *((_BUILDX_OF.get(verb, "own-buildx"), ENVIRONMENT[verb], [verb]) for verb in special)]


def _run(place: Path, verbs: list[str], environment: dict[str, str], buildx: Path) -> None:
    plugin = Path(environment["DOCKER_CONFIG"]) / "cli-plugins" / "docker-buildx"
    plugin.parent.mkdir(exist_ok=True)
    plugin.unlink(missing_ok=True)
    if buildx.exists():
        plugin.symlink_to(buildx)
    chosen = json.loads((place / "verbs.json").read_text())
    nodes = dict.fromkeys(f"tests/engine/{one}" for verb in verbs for one in chosen[verb])
    options = ["-v", "-o", "timeout=900", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "tests.engines.report"]
    first = verbs[0].replace("/", " ")
    with (place / f"{first}.output").open("wb") as output:
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *nodes],
            cwd=ROOT,
            env={**environment, "ENGINES_REPORT": str(place / f"{first}.outcomes")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
