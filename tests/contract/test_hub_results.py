"""Files in which Prefect keeps exceptions of failed runs go by age, whatever else lies there."""

from __future__ import annotations

import os
import time

import pytest

from moorage.hub import results
from moorage.hub.hub_home import HubHome

DAY_S = 86_400


@pytest.fixture
def folder(tmp_path):
    found = HubHome(tmp_path / "hub")
    found.results.mkdir(parents=True)
    for days in (0, 89, 91, 400):
        one = found.results / f"of-{days}"
        one.write_text("x")
        os.utime(one, times=(0, time.time() - days * DAY_S))
    return found


def names(folder):
    return {one.name for one in folder.results.iterdir()}


def test_the_old_ones_go(folder):
    results.forget_old(folder, 90)
    assert names(folder) == {"of-0", "of-89"}


def test_zero_days_are_for_ever(folder):
    results.forget_old(folder, 0)
    assert len(names(folder)) == 4


def test_what_is_not_a_file_is_left(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder.results / "link").symlink_to(tmp_path / "elsewhere")
    (folder.results / "sub").mkdir()
    os.utime(folder.results / "sub", times=(0, 0))
    results.forget_old(folder, 90)
    assert names(folder) == {"of-0", "of-89", "link", "sub"}


def test_without_a_folder_nothing_happens(tmp_path):
    results.forget_old(HubHome(tmp_path), 90)
