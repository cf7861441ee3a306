"""A hub without work rests, and is there at once when there is some."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from docket import Docket
from docket.dependencies import current_worker
from prefect.server.api import background_workers

from moorage.hub import api, rest, serve
from tests.orchestrated.conftest import address_in, create_run, wait_for_state

if TYPE_CHECKING:
    from tests.orchestrated.conftest import OwnHub

pytestmark = [pytest.mark.orchestrated, pytest.mark.timeout(600)]


def test_the_worker_need_not_ask_to_learn_of_a_run(own: OwnHub) -> None:
    chosen = {"PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "7"}
    own.start(PREFECT_WORKER_QUERY_SECONDS="86400", **chosen)
    address = address_in(own.status())
    wait_for_state(address, create_run(address, "status"), "COMPLETED")
    wait_for_state(address, create_run(address, "status"), "COMPLETED")

    services = api.call(address, "GET", "/admin/settings")["server"]["services"]
    assert services["late_runs"]["loop_seconds"] == 7, "a user's own setting wins"
    assert services["foreman"]["loop_seconds"] == 60


async def test_background_services_of_prefect_look_for_work_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_services(*_: object, **__: object) -> None: ...

    monkeypatch.setitem(vars(background_workers), "Worker", vars(background_workers)["Worker"])  # put back at the end
    monkeypatch.setattr(background_workers, "register_and_schedule_perpetual_services", no_services)
    rest.calm_background_work()
    async with Docket("rest", url="memory://rest") as docket, background_workers.background_worker(docket):
        worker = current_worker.get()
        assert worker.minimum_check_interval.total_seconds() == 5
        assert worker.scheduling_resolution.total_seconds() == 1


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with serve._listener("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
