"""The configuration with which Compose pulls from private registries: the user's own, and the logins, for one call."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from base64 import b64decode
from pathlib import Path

import pytest

from moorage.adapters.compose.registry_config import logged_in, merged, remove_left_behind
from moorage.model.image import RegistryLogin

LOGIN = RegistryLogin(registry="r.example.org:5000", username="me", password="let:me in")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The user's own folder, with what people have in it."""
    folder = tmp_path / "own"
    (folder / "cli-plugins").mkdir(parents=True)
    (folder / "cli-plugins" / "docker-compose").write_text("plugin")
    (folder / "config.json").write_text(json.dumps({"auths": {"ghcr.io": {"auth": "eA=="}}, "proxies": {"a": {}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder


def test_it_is_private_holds_the_users_own_and_goes(home, own):
    with logged_in(home, [LOGIN]) as variables:
        assert list(variables) == ["DOCKER_CONFIG"]
        (folder,) = (home / "logins").iterdir()
        assert variables["DOCKER_CONFIG"] == str(folder)
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (home / "logins", folder, folder / "config.json")}
        assert list(modes.values()) == [0o700, 0o700, 0o600]
        config = json.loads((folder / "config.json").read_text())
        assert b64decode(config["auths"]["r.example.org:5000"]["auth"]) == b"me:let:me in"
        assert config["auths"]["ghcr.io"] == {"auth": "eA=="}
        assert config["proxies"] == {"a": {}}
        assert (folder / "cli-plugins" / "docker-compose").read_text() == "plugin"
    assert list((home / "logins").iterdir()) == []
    assert (own / "cli-plugins" / "docker-compose").is_file(), "only the link went"


def test_it_goes_when_the_call_fails_too(home, own):
    with pytest.raises(RuntimeError), logged_in(home, [LOGIN]):
        raise RuntimeError
    assert list((home / "logins").iterdir()) == []


def test_without_logins_nothing_is_made(home, own):
    with logged_in(home, []) as variables:
        assert variables == {}
    assert not home.exists()


@pytest.mark.parametrize("text", [None, "no json", "[1]"])
def test_without_a_configuration_of_the_users_own(home, own, text):
    (own / "config.json").unlink()
    if text:
        (own / "config.json").write_text(text)
    with logged_in(home, [LOGIN]) as variables:
        config = json.loads(Path(variables["DOCKER_CONFIG"], "config.json").read_text())
        assert list(config["auths"]) == ["r.example.org:5000"]


def test_helpers_that_would_hide_a_login_are_not_asked_for_it():
    own = {"credsStore": "desktop", "credHelpers": {"r.example.org:5000": "pass", "gcr.io": "gcloud"}}
    assert merged(own, [LOGIN])["credHelpers"] == {"r.example.org:5000": "", "gcr.io": "gcloud"}
    assert "credHelpers" not in merged({}, [LOGIN])


def test_docker_hub_goes_by_its_old_name():
    login = LOGIN.model_copy(update={"registry": "index.docker.io"})
    assert list(merged({}, [login])["auths"]) == ["https://index.docker.io/v1/"]


def test_what_a_killed_process_has_left_goes_and_no_other(home, own):
    code = (
        "import sys; from pathlib import Path; from moorage.adapters.compose.registry_config import logged_in\n"
        "from moorage.model.image import RegistryLogin as Login\n"
        "with logged_in(Path(sys.argv[1]), [Login(registry='r', username='u', password='p')]):\n"
        "    print('there', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout.readline() == "there\n"
        remove_left_behind(home)
        assert len(list((home / "logins").iterdir())) == 1, "it is in use"
        killed.kill()
    remove_left_behind(home)
    assert list((home / "logins").iterdir()) == []


def test_who_tidies_up_does_not_take_a_folder_that_is_just_being_made(home, own):
    """Each call of Compose tidies up before its own, at the same moment as others make theirs."""
    stop = threading.Event()

    def tidy():
        while not stop.is_set():
            remove_left_behind(home)

    tidying = [threading.Thread(target=tidy) for _ in range(3)]
    for one in tidying:
        one.start()
    try:
        for _ in range(300):
            with logged_in(home, [LOGIN]) as variables:
                assert Path(variables["DOCKER_CONFIG"], "config.json").is_file()
    finally:
        stop.set()
        for one in tidying:
            one.join()
