"""Prefect's pages: who has not installed it keeps them in the home, where nobody else's server writes."""

from __future__ import annotations

import os
from pathlib import Path

import prefect

from moorage.hub import server
from moorage.hub.hub_home import HubHome


def test_who_has_installed_prefect_has_them_where_it_is(tmp_path, monkeypatch) -> None:
    owner = Path(prefect.__file__).stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    assert server._place_of_pages(HubHome(tmp_path)) == {}


def test_another_user_has_them_in_the_home(tmp_path, monkeypatch) -> None:
    other = Path(prefect.__file__).stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    told = server._place_of_pages(HubHome(tmp_path))
    assert told == {"PREFECT_SERVER_UI_STATIC_DIRECTORY": str(tmp_path / "pages")}
