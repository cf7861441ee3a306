"""Who holds a port, how many are used, and giving them back."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from moorage.errors import BusyError, DefinitionError, PortError
from moorage.show.ports import facts_text, stats_text, why_text
from moorage.work.operations import release_ports
from moorage.work.queries import ports

pytestmark = pytest.mark.engine

TWO = """
    services:
      web: {{image: "${{TINY_IMAGE}}", command: [httpd, -f, -p, "80"], ports: ["{port}:80"], stop_grace_period: 0s}}
      any: {{image: "${{TINY_IMAGE}}", command: [httpd, -f, -p, "80"], ports: ["80"], stop_grace_period: 0s}}
"""


async def test_who_holds_a_port(stack, free_ports, listen):
    wanted = free_ports()
    stranger = listen(wanted)
    s = stack(TWO.format(port=wanted))
    await s.up()
    got = s.ports["web 80/tcp"]

    why = ports.facts(s.world, got, "tcp")
    assert (why.lease.key.service, why.container, why.bindable) == ("web", f"{s.name}-web-1", False)
    assert f"port {got}/tcp is leased\n  lease:      {s.name}, web 80/tcp" in why_text(why)

    why = ports.facts(s.world, wanted, "tcp")
    assert (why.lease, why.container, why.bindable) == (None, None, False)
    assert f"(pid {os.getpid()})" in why.process
    assert [lease.key.service for lease in why.moved] == ["web"]
    assert why_text(why).splitlines() == [
        f"port {wanted}/tcp is taken",
        f"  process:    {why.process}",
        f"  wanted by:  {s.name}, web 80/tcp, which got {got}",
    ]

    (web,) = ports.all_facts(s.world, s.name, ["web"])
    assert facts_text([web]).splitlines()[1].split() == [
        *("web", "80/tcp", f"127.0.0.1:{got}", str(wanted), f"{s.name}-web-1")
    ]

    found = ports.stats(s.world)
    assert (found.leased, found.published, found.by_stack) == (2, 2, {s.name: 2})
    assert found.in_range == sum(found.first <= port <= found.last for port in s.ports.values())
    assert [(one.port, one.wanted, one.moved) for one in found.most_wanted] == [(wanted, 1, 1)]
    assert f"{wanted}" in stats_text(found)

    await s.down()
    stranger.close()
    assert why_text(ports.facts(s.world, wanted, "tcp")).splitlines()[0] == f"port {wanted}/tcp is free"
    assert "it is kept for the stack's next start" in why_text(ports.facts(s.world, got, "tcp"))


async def test_given_back_only_when_nothing_has_it(stack, free_ports):
    s = stack(TWO.format(port=free_ports()))
    await s.up()
    before = s.leases
    port = s.ports["web 80/tcp"]
    for state in ("running", "exited"):
        with pytest.raises(PortError) as caught:
            release_ports.release(s.world, s.name, [])
        assert caught.value.exit_code == 3
        assert f"({state})" in str(caught.value)
        await s.stop()
    await s.down()

    with pytest.raises(DefinitionError, match="no lease for 'wbe'"):
        release_ports.release(s.world, s.name, ["any", "wbe"])
    assert s.leases == before
    held = s.world.lock(s.name)
    held.acquire("up", 0)
    impatient = s.world.settings.model_copy(update={"lock_timeout_s": 0.0})
    with pytest.raises(BusyError):
        release_ports.release(replace(s.world, settings=impatient), s.name, [])
    held.release()

    assert [lease.key.service for lease in release_ports.release(s.world, s.name, [str(port)])] == ["web"]
    assert set(s.leases) == {"any 80/tcp"}
    release_ports.release(s.world, s.name, [])
    assert s.leases == {}


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "80/http", "eighty", "٨٠"])
def test_what_is_no_port_is_refused(text):
    with pytest.raises(DefinitionError):
        ports.port_of(text)
    assert ports.port_of("53/udp") == (53, "udp")
