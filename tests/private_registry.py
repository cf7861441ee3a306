"""A real registry on the loopback address that wants a password (`scripts/registry`)."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker

USER, PASSWORD = "ada", "reg-8sK_most.unlikely-41"
SCRIPT = Path(__file__).parents[1] / "scripts" / "registry"
_START_S = 120.0


@contextmanager
def serving(folder: Path, port: int) -> Iterator[str]:
    """`127.0.0.1:PORT` of a registry that keeps its images in the folder."""
    subprocess.run([SCRIPT], check=True, capture_output=True, timeout=120)
    command = [SCRIPT, str(folder), str(port), USER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(PASSWORD)
        process.stdin.close()
        try:
            deadline = time.monotonic() + _START_S
            while not _asks_for_a_password(port):
                assert time.monotonic() < deadline, "the registry does not answer"
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _asks_for_a_password(port: int) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/v2/", timeout=60)
    except urllib.error.HTTPError as error:
        with error:
            return error.code == 401
    except OSError:
        return False
    return False


@contextmanager
def only_there(client: docker.DockerClient, image: str, name: str) -> Iterator[str]:
    """The image under a name of the registry, which has it while the engine has not."""
    client.images.get(image).tag(name, "1")
    said = client.images.push(name, "1", auth_config={"username": USER, "password": PASSWORD})
    assert '"error"' not in said, said
    client.images.remove(f"{name}:1", noprune=True)
    yield f"{name}:1"
    with suppress(docker.errors.ImageNotFound):
        client.images.remove(f"{name}:1", noprune=True)
