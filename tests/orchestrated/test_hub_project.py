"""The project of flows that belongs to this Moorage: loaded from where it is, run the way it should be."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome
from moorage.hub.project import run_environment, whole_environment
from moorage.settings import settings
from tests.orchestrated.conftest import python

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]


def test_looking_at_the_hub_imports_no_prefect(tmp_path: Path) -> None:
    code = """
        import sys
        from moorage.hub import control
        control.status(), control.find()
        assert not [name for name in sys.modules if name.split(".")[0] == "prefect"]
    """
    looked = python(code, tmp_path, MOORAGE_HOME=str(tmp_path))
    assert looked.returncode == 0, looked.stderr


LOAD = """
    from moorage.hub.address import HubAddress
    from moorage.hub.project import load_flow, project_directory, using
    with using(HubAddress(api_url="http://127.0.0.1:1/api", ui_url="http://127.0.0.1:1", managed=True)):
        loaded = load_flow("up")
    import tasks
    print(loaded.name, tasks.__path__[0] == str(project_directory() / "tasks"))
"""


def test_a_decoy_beside_us_does_not_win(tmp_path: Path) -> None:
    for name in ("flows", "tasks", "blocks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the decoy was imported')\n")
    loaded = python(LOAD, tmp_path, tmp_path)
    assert loaded.stdout.split() == ["up", "True"], loaded.stderr


def test_a_foreign_package_that_is_there_already_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").touch()
    refused = python("import tasks\n" + dedent(LOAD), tmp_path, tmp_path)
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert re.search(r"MoorageError: the package 'tasks' is not Moorage's; it comes from .*/tasks/__init__\.py", last)


def test_prefect_that_was_imported_for_another_server_is_named(tmp_path: Path) -> None:
    refused = python("import prefect\n" + dedent(LOAD), tmp_path, PREFECT_API_URL="http://127.0.0.1:2/api")
    assert "Prefect was imported before Moorage could point it to http://127.0.0.1:1/api" in refused.stderr


def test_prefect_that_was_imported_without_the_hubs_secret_is_named(tmp_path: Path) -> None:
    load = dedent(LOAD).replace("managed=True", "managed=True, auth='moorage:x'")
    refused = python("import prefect\n" + load, tmp_path, PREFECT_API_URL="http://127.0.0.1:1/api")
    assert "Prefect was imported before Moorage could give it the password" in refused.stderr


def test_a_setting_without_a_valid_value_is_named(tmp_path: Path) -> None:
    refused = python(LOAD, tmp_path, PREFECT_CLIENT_MAX_RETRIES="abc")
    assert refused.stderr.splitlines()[-1].startswith("moorage.errors.DefinitionError: PREFECT_CLIENT_MAX_RETRIES: ")


def test_prefect_is_loaded_where_no_project_configures_it(tmp_path: Path) -> None:
    """Nor later, when settings are made anew; and the command is back in its directory afterwards."""
    (tmp_path / ".env").write_text("PREFECT_CLIENT_MAX_RETRIES=7\n")
    (tmp_path / "prefect.toml").write_text("[client]\nretry_extra_codes = '501'\n")
    (tmp_path / "pyproject.toml").write_text("[tool.prefect.api]\nrequest_timeout = 7\n")
    code = """
        import os
        from moorage.hub.address import HubAddress
        from moorage.hub.project import using
        with using(HubAddress(api_url="http://127.0.0.1:1/api", ui_url="http://127.0.0.1:1", managed=True)):
            from prefect.settings import PREFECT_LOGGING_LEVEL, Settings, get_current_settings, temporary_settings
            with temporary_settings({PREFECT_LOGGING_LEVEL: "ERROR"}):
                for found in (get_current_settings(), Settings()):
                    print(found.client.max_retries, found.client.retry_extra_codes, found.api.request_timeout)
        print(os.getcwd())
    """
    loaded = python(code, tmp_path)
    assert loaded.stdout.splitlines() == ["5 set() 60.0", "5 set() 60.0", str(tmp_path)], loaded.stderr


def test_our_own_hub_is_not_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be told the secret. Prefect's client takes these variables for its word."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.org")
    ours = HubAddress(api_url="http://127.0.0.1:4200/api", ui_url="http://127.0.0.1:4200", managed=True)
    for environment in (run_environment(ours), whole_environment(ours)):
        assert environment["NO_PROXY"] == environment["no_proxy"] == "example.org,127.0.0.1,localhost,::1"
    theirs = ours.model_copy(update={"managed": False})
    assert "no_proxy" not in run_environment(theirs)


def test_flows_run_quietly_and_keep_their_files_in_the_hub(hub_address: HubAddress, tmp_path: Path) -> None:
    code = """
        import logging, os
        from moorage.hub.address import find
        from moorage.hub.project import using
        with using(find()):
            from prefect import flow, settings
            @flow
            async def fails():
                logging.getLogger("moorage.x").warning("to the API only")
                raise ValueError("shown by whoever catches it")
            import asyncio
            try:
                asyncio.run(fails())
            except ValueError:
                print(settings.PREFECT_HOME.value())
    """
    ran = python(code, tmp_path)
    assert ran.stdout.strip() == str(HubHome(settings().home / "hub").prefect_home)
    assert ran.stderr == ""
