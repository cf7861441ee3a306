"""An engine of our own, which nobody else uses: started, killed, started again.

For root. It has its own socket and data, and a network namespace: it would take away the default bridge of the machine's
engine, and its packet filter. Without `--live-restore` its containers end with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import docker
from docker.errors import DockerException

PATIENCE_S = 120
TLS_PORT = 2376


class OwnEngine:
    """A dockerd that is started, killed and started again; `ended` at the end, with all it has made."""

    def __init__(self, place: Path, *, own_network: bool = True, certificates: Path | None = None) -> None:
        """`certificates`: it also listens with TLS, as if it were on another machine. None: on its socket only."""
        self.place = place
        self.certificates = certificates
        subnet = f"10.213.{os.getpid() % 250}"
        self.far_host, self._near_host = f"{subnet}.2", f"{subnet}.1"
        self.within = ("unshare", "--net") if own_network else ()
        """Without `own_network` it lives in the network of whoever starts it, who has left the machine's already."""
        self.address = f"unix://{place}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What is started."""
        command = [*self.within, "dockerd", f"--host={self.address}", f"--data-root={self.place}/data"]
        command += [f"--exec-root={self.place}/exec", f"--pidfile={self.place}/pid"]
        if self.certificates:
            files = {"tlscacert": "ca.pem", "tlscert": "server.pem", "tlskey": "server-key.pem"}
            command += [f"--host=tcp://0.0.0.0:{TLS_PORT}", "--tlsverify"]
            command += [f"--{option}={self.certificates / name}" for option, name in files.items()]
        return command

    def start(self) -> None:
        """Returns when it answers."""
        with (self.place / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, start_new_session=True)
        while not self._answers():
            assert self._process.poll() is None, (self.place / "log").read_text()[-3000:]
            time.sleep(0.1)
        inside = ["nsenter", "--target", str(self._process.pid), "--net"]
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        if self.certificates:
            self._join(inside)

    def _join(self, inside: list[str]) -> None:
        """A cable between this machine's network and the engine's; it is gone when the engine is."""
        assert self._process
        near, pid = f"mt-own-{os.getpid()}", str(self._process.pid)
        for command in (
            ["ip", "link", "add", near, "type", "veth", "peer", "name", "far0", "netns", pid],
            ["ip", "addr", "add", f"{self._near_host}/24", "dev", near],
            ["ip", "link", "set", near, "up"],
            [*inside, "ip", "addr", "add", f"{self.far_host}/24", "dev", "far0"],
            [*inside, "ip", "link", "set", "far0", "up"],
        ):
            subprocess.run(command, check=True)

    def stop(self, number: signal.Signals) -> None:
        """Returns when it is gone."""
        assert self._process
        self._process.send_signal(number)
        self._process.wait(PATIENCE_S)
        (self.place / "pid").unlink(missing_ok=True)
        if number == signal.SIGKILL:
            # Its containerd dies with it, but where nobody reaps it the next dockerd takes the zombie for alive.
            (self.place / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def send(self, number: signal.Signals) -> None:
        """A signal, not waited for."""
        assert self._process
        self._process.send_signal(number)

    def restart(self, number: signal.Signals) -> None:
        """Gone and there again."""
        self.stop(number)
        self.start()

    def end(self) -> None:
        """Remove all that is there, then the engine, then its files."""
        if not self._answers():
            self.start()
        client = self.client()
        for container in client.containers.list(all=True, ignore_removed=True):
            container.remove(force=True, v=True)
        for network in client.networks.list(filters={"type": "custom"}):
            network.remove()
        client.close()
        self.stop(signal.SIGTERM)
        for mount in reversed([line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]):
            if mount.startswith(f"{self.place}/"):
                subprocess.run(["umount", "-l", mount], check=True)
        shutil.rmtree(self.place)

    def client(self) -> docker.DockerClient:
        """Other eyes than Moorage's."""
        return docker.DockerClient(base_url=self.address, timeout=30)

    def _answers(self) -> bool:
        try:
            client = self.client()
            client.ping()
            client.close()
        except (DockerException, OSError):
            return False
        return True
