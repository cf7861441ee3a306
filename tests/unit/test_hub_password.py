"""What the hub asks for: the user's password, that of a server that died, or a new secret of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moorage.errors import HubError
from moorage.hub import server
from moorage.hub.address import is_of
from moorage.hub.hub_home import HubHome, ServerRecord
from moorage.hub.process import ProcessRecord
from moorage.settings import settings

LOCAL, PORT = "127.0.0.1", 4200


@pytest.fixture
def folder(tmp_path: Path) -> HubHome:
    return HubHome(tmp_path / "hub")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets MOORAGE_HUB_AUTH; empty: it is not set."""

    def put(auth: str) -> None:
        if auth:
            monkeypatch.setenv("MOORAGE_HUB_AUTH", auth)
        else:
            monkeypatch.delenv("MOORAGE_HUB_AUTH")
        settings.cache_clear()

    yield put
    monkeypatch.undo()
    settings.cache_clear()


def died(auth: str | None, host: str = LOCAL, *, chosen: bool = False) -> ServerRecord:
    """The record of a server that is gone."""
    gone = ProcessRecord(pid=1, identity="another boot", since=datetime.now(UTC))
    url = f"http://{LOCAL}:{PORT}"
    return ServerRecord(
        process=gone,
        host=host,
        port=PORT,
        api_url=f"{url}/api",
        ui_url=url,
        auth=auth,
        chosen=chosen,
        version="1",
    )


def test_a_secret_is_as_old_as_its_server(folder: HubHome) -> None:
    """While none of ours listens, another program may, and is told it by a worker or a page that is still open."""
    first, chosen = server._auth(folder, LOCAL)
    assert (first, chosen) == (folder.secret(), False)
    folder.save_server(died(first))
    second, _ = server._auth(folder, LOCAL)
    assert second not in (first, "")
    folder.forget_server()
    third, _ = server._auth(folder, LOCAL)
    assert third not in (first, second, "")
    folder.save_server(died(None))
    assert server._auth(folder, LOCAL)[0] not in (first, second, third, "")


def test_a_password_of_the_user_comes_first_and_outlives_a_crash(folder: HubHome, given: Callable[[str], None]) -> None:
    given("ada:one")
    assert server._auth(folder, "0.0.0.0") == ("ada:one", True)
    folder.save_server(died("ada:one", "0.0.0.0", chosen=True))
    cookies = folder.secret()
    given("ada:two")
    assert server._auth(folder, LOCAL) == ("ada:two", True)
    given("")
    assert server._auth(folder, "0.0.0.0") == ("ada:one", True)
    assert folder.secret() != cookies, "what browsers got before is worth nothing"


@pytest.mark.parametrize("auth", ["ada", "ada:", ":x", "ada: x", " "])
def test_a_password_has_a_form(folder: HubHome, given: Callable[[str], None], auth: str) -> None:
    given(auth)
    with pytest.raises(HubError, match="user:password"):
        server._auth(folder, LOCAL)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_the_network_needs_a_password_of_the_user(folder: HubHome, host: str) -> None:
    folder.save_server(died(folder.secret()))
    with pytest.raises(HubError, match="without a password of yours"):
        server._auth(folder, host)


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("http://127.0.0.1:4200/api", True),
        ("http://localhost:4200/api", True),
        ("http://127.0.0.1:4201/api", False),
        ("http://127.0.0.1:4200/api@evil.example", False),
        ("http://localhost:4200@evil.example/api", False),
        ("https://localhost:4200/api", False),
    ],
)
def test_which_urls_are_told_the_secret(url: str, ours: bool) -> None:
    assert is_of(died("ada:one"), url) is ours
