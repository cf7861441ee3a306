"""Prefect's UI as a person uses it, in a real Chromium: fill the form, run, look at what came of it, cancel.

Screenshots go to build/screenshots.
"""

from __future__ import annotations

import re
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

from moorage.hub import api, deployed
from tests.e2e.conftest import load, picture
from tests.orchestrated.conftest import create_run, wait_for, wait_for_state

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress
    from tests.conftest import MachineState, Project

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.timeout(900)]

SHOP = """
    services:
      db:
        image: '{image}'
        init: true
        command: sleep 600
        x-moorage: {{ready: {{exec: 'true'}}}}
      web:
        image: '{image}'
        init: true
        depends_on: [db]
        ports: ['8000']
        command: [sh, -c, 'sleep {pause}; mkdir /w; echo the shop is open > /w/index.html; httpd -f -p 8000 -h /w']
        x-moorage: {{ready: {{http: /, timeout: 300s}}}}
"""


def field(page: Page, title: str) -> Any:
    """The input of a field of the form, by its title."""
    return page.locator(".schema-form-property", has_text=re.compile(f"^{title}")).locator("input, textarea").first


def open_form(page: Page, address: HubAddress, flow: str) -> None:
    """From the list of deployments to the form, as one goes: by the search field, as a page of the list has only ten."""
    listed = page.get_by_role("link", name=flow, exact=True).first

    def found() -> None:
        page.get_by_placeholder("Search deployments").fill(flow)
        expect(listed).to_be_visible()

    load(page, f"{address.ui_url}/deployments", found)
    listed.click()
    page.wait_for_url("**/deployments/deployment/*")
    submit = page.get_by_role("button", name="Submit")
    load(page, f"{page.url.partition('?')[0]}/run", lambda: expect(submit).to_be_visible())


def submitted(page: Page, address: HubAddress, flow: str) -> str:
    """Press Submit; gives the id of the run that comes of it."""
    wanted = {"deployments": {"id": {"any_": [deployed.found_on(address)[flow]]}}}
    earlier = {one["id"] for one in api.call(address, "POST", "/flow_runs/filter", wanted)}
    page.get_by_role("button", name="Submit").click()
    seen: list[str] = []

    def created() -> bool:
        found = api.call(address, "POST", "/flow_runs/filter", wanted)
        seen[:] = [one["id"] for one in found if not one["auto_scheduled"] and one["id"] not in earlier]
        return bool(seen)

    wait_for(created)
    return seen[0]


def open_run(page: Page, address: HubAddress, run: str, state: str, *texts: str) -> None:
    """The page of a run, with its state and these texts in it."""

    def shown() -> None:
        expect(page.get_by_text(state, exact=True).first).to_be_visible()
        for text in texts:
            expect(page.get_by_text(text).first).to_be_visible()

    load(page, f"{address.ui_url}/runs/flow-run/{run}", shown)


def open_artifact(page: Page, address: HubAddress, run: str, key: str) -> None:
    link = page.locator("a[href*='/artifacts/artifact/']", has_text=re.compile(rf"{key}\s*Created")).first

    def listed() -> None:
        page.get_by_text("Artifacts", exact=True).first.click()
        expect(link).to_be_visible()

    load(page, f"{address.ui_url}/runs/flow-run/{run}", listed)
    link.click()
    page.wait_for_url("**/artifacts/artifact/*")


def test_a_stack_from_the_form(
    hub_address: HubAddress,
    page: Page,
    project: Project,
    tiny_image: str,
    machine_state: MachineState,
) -> None:
    project.compose(SHOP.format(image=tiny_image, pause=2))
    open_form(page, hub_address, "up")
    expect(page.get_by_text("Directory of the project, with the compose file")).to_be_visible()
    field(page, "Directory").fill(str(project.path))
    field(page, "Name of the stack").fill("No Such Name!")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text(re.compile("does not match|must match|pattern", re.IGNORECASE)).first).to_be_visible()
    picture(page, "1-form-refuses")
    assert page.url.endswith("/run")
    field(page, "Name of the stack").fill(project.name)
    picture(page, "2-form")
    run = submitted(page, hub_address, "up")
    wait_for_state(hub_address, run, "COMPLETED")
    open_run(page, hub_address, run, "Completed", f"up {project.name}", "ready web: ready")
    expect(page.locator("canvas").first).to_be_visible()
    picture(page, "3-run")
    names = api.call(hub_address, "POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    assert {"start db", "ready db", "start web", "ready web"} <= {one["name"] for one in names}
    open_artifact(page, hub_address, run, f"moorage-{project.name}-progress")
    expect(page.get_by_text("running after").first).to_be_visible()
    picture(page, "4-progress")
    open_artifact(page, hub_address, run, f"moorage-{project.name}-timeline")
    expect(page.get_by_text("ready web").first).to_be_visible()
    picture(page, "5-timeline")
    open_artifact(page, hub_address, run, f"moorage-{project.name}")
    link = page.locator("a[href^='http://localhost:']").first
    link.wait_for()
    picture(page, "6-services")
    address = str(link.get_attribute("href"))
    assert urllib.request.urlopen(address, timeout=60).read() == b"the shop is open\n"
    page.goto(address)
    expect(page.get_by_text("the shop is open")).to_be_visible()
    project.moorage("down", "--volumes", "--release-ports")


@pytest.mark.exhaustive
def test_a_failure_explains_itself(
    hub_address: HubAddress,
    page: Page,
    project: Project,
    tiny_image: str,
    machine_state: MachineState,
) -> None:
    broken = SHOP.format(image=tiny_image, pause=0).replace("mkdir /w", "echo no such database; exit 3")
    project.compose(broken)
    run = create_run(hub_address, "up", path=str(project.path))
    wait_for_state(hub_address, run, "FAILED")
    open_run(page, hub_address, run, "Failed")
    picture(page, "7-failed-run")
    open_artifact(page, hub_address, run, f"moorage-{project.name}-failure")
    for words in ("NotReadyError", "no such database", "What was undone", "remove db"):
        expect(page.get_by_text(words).first).to_be_visible()
    picture(page, "8-failure")
    machine_state.assert_same()


def test_cancel_undoes(
    hub_address: HubAddress,
    page: Page,
    project: Project,
    tiny_image: str,
    machine_state: MachineState,
) -> None:
    project.compose(SHOP.format(image=tiny_image, pause=500))
    run = create_run(hub_address, "up", path=str(project.path))
    wait_for(lambda: len(machine_state.now()["containers"]) == 2)
    open_run(page, hub_address, run, "Running")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Confirm").click()
    wait_for_state(hub_address, run, "CANCELLED")
    open_run(page, hub_address, run, "Cancelled")
    picture(page, "9-cancelled")
    machine_state.assert_same()
