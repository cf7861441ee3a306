"""What an undo gives back besides the definition: anonymous volumes, replicas' numbers, names, and what was off."""

from __future__ import annotations

import pytest

from moorage.errors import NotReadyError

pytestmark = pytest.mark.engine

SLEEP = 'image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s'
FAILS = 'image: "${TINY_IMAGE}", command: [sh, -c, "exit 3"], stop_grace_period: 0s'
READY = 'x-moorage: {ready: {exec: "true"}}'


def anonymous(client):
    return {volume.name for volume in client.volumes.list() if len(volume.name) == 64}


def of(s, client):
    """The stack's containers: their state and volumes, by name."""
    return {
        c.name: (c.status, {m["Destination"]: m["Name"] for m in c.attrs["Mounts"]})
        for c in client.containers.list(
            all=True, ignore_removed=True, filters={"label": f"com.docker.compose.project={s.name}"}
        )
    }


async def test_anonymous_volumes_come_back(stack, docker_client):
    """One has no place in the definition that fails, one goes with its service; those it brings along do not stay."""
    good = f"""
        services:
          db: {{{SLEEP}, {READY}, volumes: [/scratch]}}
          web: {{{SLEEP}, {READY}, volumes: [/scratch]}}
    """
    s = stack(good)
    await s.up()
    for service in ("db", "web"):
        s.sh(service, f"echo {service} > /scratch/file")
    before = of(s, docker_client)
    s.compose(f"""
        services:
          db: {{{SLEEP}, {READY}, volumes: [/other]}}
          late: {{{FAILS}, volumes: [/more], depends_on: [db]}}
    """)
    await s.fails(NotReadyError)
    assert of(s, docker_client) == before
    assert [s.sh(service, "cat /scratch/file").strip() for service in ("db", "web")] == ["db", "web"]
    kept = {volume for _, mounts in before.values() for volume in mounts.values()}
    s.compose(good)
    assert (await s.plan()).empty
    # Handed on once more, they are named ones to the engine: they go all the same.
    await s.down(volumes=True, release_ports=True)
    assert not kept & anonymous(docker_client)


async def test_what_was_stopped_is_stopped(stack, docker_client):
    good = f"services: {{db: {{{SLEEP}, {READY}}}, web: {{{SLEEP}, {READY}, depends_on: [db]}}}}"
    s = stack(good)
    await s.up()
    await s.stop()
    before = of(s, docker_client)
    s.compose(f"services: {{db: {{{SLEEP}, {READY}}}, web: {{{FAILS}, depends_on: [db]}}}}")
    await s.fails(NotReadyError)
    after = of(s, docker_client)
    assert after.keys() == before.keys()
    assert {state for state, _ in after.values()} <= {"exited", "created"}
    s.compose(good)
    await s.up()
    assert {state for state, _ in of(s, docker_client).values()} == {"running"}


async def test_names_and_numbers(stack, docker_client):
    """A replacement that Compose was cut off at gets its name; what is gone of several keeps its number."""
    good = f"services: {{web: {{{SLEEP}, {READY}, deploy: {{replicas: 2}}}}}}"
    s = stack(good)
    await s.up()
    first, second = sorted(s.containers("web"), key=lambda c: c.name)
    first.remove(force=True)
    second.rename(f"{first.id[:12]}_{second.name}")
    s.compose(good.replace("sleep, infinity", "sleep, '1000'"))
    await s.up()
    names = sorted(name.removeprefix(s.name) for name in of(s, docker_client))
    assert len(names) == 2
    assert "-web-2" in names
    assert not [name for name in names if "_" in name]
    s.compose(good.replace(SLEEP, FAILS))
    before = of(s, docker_client)
    await s.fails(NotReadyError)
    assert of(s, docker_client).keys() == before.keys()
