"""Volumes keep what they were created with: when that is told, and when there is nothing to tell."""

from __future__ import annotations

import pytest

from moorage.model.state import Observed, VolumeOptions
from moorage.rules import volumes

OURS = {"com.docker.compose.project": "shop", "com.docker.compose.config-hash": "1", "moorage.stack": "shop"}
FORMS = {
    "nothing said": ({}, VolumeOptions(labels=OURS), ""),
    "null": (None, VolumeOptions(labels=OURS), ""),
    "the engine's own driver": ({"driver": "local"}, VolumeOptions(), ""),
    "another driver": ({"driver": "nfs"}, VolumeOptions(), "driver local, not nfs"),
    "back to the own one": ({}, VolumeOptions(driver="nfs"), "driver nfs, not local"),
    "the same options": ({"driver_opts": {"o": "size=1m"}}, VolumeOptions(options={"o": "size=1m"}), ""),
    "other options": (
        {"driver_opts": {"o": "size=3m"}},
        VolumeOptions(options={"o": "size=1m"}),
        "driver_opts o=size=1m, not o=size=3m",
    ),
    "options are new": ({"driver_opts": {"type": "tmpfs"}}, VolumeOptions(), "driver_opts none, not type=tmpfs"),
    "options are gone": ({}, VolumeOptions(options={"type": "nfs"}), "driver_opts type=nfs, not none"),
    "a number": ({"driver_opts": {"uid": 1000}}, VolumeOptions(options={"uid": "1000"}), ""),
    "a dollar": ({"driver_opts": {"o": "a$$b"}}, VolumeOptions(options={"o": "a$b"}), ""),
    "the same labels": (
        {"labels": {"team": "a", "moorage.stack": "shop"}},
        VolumeOptions(labels={"team": "a", **OURS}),
        "",
    ),
    "another label": ({"labels": {"team": "b"}}, VolumeOptions(labels={"team": "a"}), "labels team=a, not team=b"),
    "both": (
        {"driver": "nfs", "labels": {"team": "b"}},
        VolumeOptions(),
        "driver local, not nfs; labels none, not team=b",
    ),
    "external": ({"external": True, "driver": "nfs"}, VolumeOptions(), ""),
}


@pytest.mark.parametrize(("thing", "there", "words"), FORMS.values(), ids=FORMS)
def test_what_a_volume_keeps(thing, there, words) -> None:
    observed = Observed(stack="shop", volumes=("shop_data",), volume_options={"shop_data": there})
    found = volumes.kept_options({"services": {}, "volumes": {"data": thing}}, observed)
    if not words:
        assert found == ()
        return
    (notice,) = found
    assert notice.startswith(f"volumes.data: volume shop_data stays as it was made: {words}. ")
    assert "docker volume rm shop_data" in notice


def test_a_volume_that_is_not_there_is_made_as_the_file_says() -> None:
    config = {"services": {}, "volumes": {"data": {"name": "elsewhere", "driver": "nfs"}}}
    observed = Observed(stack="shop", volumes=("shop_data",), volume_options={"shop_data": VolumeOptions()})
    assert volumes.kept_options(config, observed) == ()
