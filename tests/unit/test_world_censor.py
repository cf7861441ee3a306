"""Passwords that no definition names are hidden too: of registries, and of the hub."""

from base64 import b64encode

import pytest

from moorage.model.definition import Hidden
from moorage.model.image import RegistryLogin
from moorage.settings import Settings
from moorage.world import open_world


@pytest.fixture
def hide(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "ada:hub-mark-1")
    login = RegistryLogin(registry="registry.example.org", username="ada", password="reg-mark-2")
    settings = Settings(home=tmp_path, hub_auth="ada:hub-mark-3")
    world = open_world(settings=settings, logins=(login,), auth_of_hub=lambda: "ada:hub-mark-4")
    return world.censor((), Hidden())


@pytest.mark.parametrize("password", ["hub-mark-1", "reg-mark-2", "hub-mark-3", "hub-mark-4"])
def test_passwords(hide, password):
    header = b64encode(f"ada:{password}".encode()).decode()
    assert hide([f"<{password}>", f"Basic {header}"]) == ["<****>", "Basic ****"]


def test_older_definitions_count_too(hide, tmp_path):
    configs = [{"services": {"a": {"environment": {"DB_PASSWORD": f"gen-mark-{number}"}}}} for number in range(3)]
    censor = open_world(settings=Settings(home=tmp_path)).censor(configs, Hidden(secrets=("more-mark",)))
    assert censor("gen-mark-0 gen-mark-1 gen-mark-2 more-mark") == "**** **** **** ****"
