"""Volumes: who uses them, and data that survives a snapshot and its restore, also into another stack."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from textwrap import dedent

import pytest

from moorage.errors import ArchiveError, DefinitionError, RunError
from moorage.model.request import RestoreRequest, SnapshotRequest, SweepRequest
from moorage.model.state import StackState
from moorage.model.volume import Kind
from moorage.work.operations import prune
from moorage.work.operations.restore import restore
from moorage.work.operations.snapshot import snapshot
from moorage.work.operations.sweep import sweep
from moorage.work.queries import volumes
from moorage.work.runs.context import Context

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
SHOP = """
    services:
      db:
        image: ${POSTGRES_IMAGE}
        environment: {POSTGRES_USER: shop, POSTGRES_PASSWORD: hunter22, POSTGRES_DB: shop}
        volumes: ["pg:/var/lib/postgresql/data"]
      cache:
        image: ${REDIS_IMAGE}
        command: redis-server --appendonly yes
        volumes: ["cache:/data"]
      web:
        image: ${TINY_IMAGE}
        command: [httpd, -f, -p, "80", -h, /etc]
        stop_grace_period: 0s
        depends_on: {db: {condition: service_healthy}, cache: {condition: service_started}}
    volumes: {pg: {}, cache: {}}
"""
BOX = """
    services:
      box:
        image: ${TINY_IMAGE}
        command: sleep 600
        init: true
        volumes: ["data:/data"]
      other:
        image: ${TINY_IMAGE}
        command: sleep 600
        init: true
    volumes: {data: {}}
"""
PSQL = "PGPASSWORD=hunter22 psql -X -h 127.0.0.1 -U shop -d shop -Atc"


def put(s, word):
    s.sh("db", f"{PSQL} \"create table if not exists words (w text); insert into words values ('{word}')\"")
    s.sh("cache", f"redis-cli rpush words {word}")


def words(s):
    in_db = s.sh("db", f'{PSQL} "select w from words order by w"').split()
    return in_db, s.sh("cache", "redis-cli lrange words 0 -1").split()


def nothing_left(s):
    """No container of ours that reads, no file that is not whole, no unfinished run."""
    assert not s.client.containers.list(all=True, ignore_removed=True, filters={"label": f"moorage.helper={s.name}"})
    assert not s.world.store.unfinished_runs(s.name)
    folder = s.world.settings.home / "snapshots" / s.name
    assert not [path.name for path in folder.glob("*") if "before-" in path.name or "unfinished" in path.name]


async def test_postgres_and_redis_into_the_same_and_another_stack(stack, tmp_path):
    shop, copy = stack(SHOP, "-shop"), stack(SHOP, "-copy")
    await asyncio.gather(shop.up(), copy.up())
    put(shop, "kept")
    shop.sh("db", f"{PSQL} 'create role reader login' -c 'create database \"other=one\" owner reader'")
    before = shop.ids()
    shop.events.clear()
    pg = await snapshot(
        Context(shop.world), SnapshotRequest(stack=shop.name, volume="pg", target=tmp_path / "pg.tar.zst")
    )
    assert (pg.manifest.kind, pg.manifest.databases) == (Kind.POSTGRES, ("other=one", "postgres", "shop"))
    assert shop.ids() == before
    assert not [step for step in shop.steps() if step.startswith("stop")], "PostgreSQL runs on"
    cache = await snapshot(Context(shop.world), SnapshotRequest(stack=shop.name, volume=f"{shop.name}_cache"))
    assert cache.manifest.kind == Kind.FILES
    assert [step for step in shop.steps() if "cache" in step] == [
        "stop cache",
        "snapshot cache",
        "start cache",
        "ready cache",
    ]
    assert shop.ids() == before, "stopped and started, not made anew"
    put(shop, "later")
    for s in (shop, copy):
        with pytest.raises(ArchiveError, match="not empty"):
            await restore(Context(s.world), RestoreRequest(stack=s.name, source=tmp_path / "pg.tar.zst"))
        for file in (pg.path, cache.path):
            await restore(Context(s.world), RestoreRequest(stack=s.name, source=tmp_path / file, force=True))
        assert words(s) == (["kept"], ["kept"])
        assert s.sh("db", f"{PSQL} \"select rolname from pg_roles where rolname = 'reader'\"") == "reader"
        assert "other=one|reader" in s.sh("db", f'{PSQL} "select datname, pg_get_userbyid(datdba) from pg_database"')
        assert (await s.status()).state == StackState.RUNNING
        assert (await s.plan()).empty, "as Moorage would have made it"
        nothing_left(s)


async def test_files_come_back_as_they_were(stack):
    s = stack(BOX)
    await s.up()
    s.sh(
        "box",
        "cd /data && mkdir -p deep/er && echo one > deep/er/a && ln deep/er/a hard && ln -s /etc/passwd soft && "
        "mkfifo pipe && : > empty && chown -R 1234:5678 deep && chmod 4750 deep/er/a && chmod 1700 . && "
        "dd if=/dev/urandom of=big bs=1M count=8 2>/dev/null && echo x > 'ü $(x)'",
    )
    look = "cd /data && find . | sort | while read f; do stat -c '%n %F %a %u %g %h %N' \"$f\"; done; sha256sum big"
    before = s.sh("box", look)
    taken = await snapshot(Context(s.world), SnapshotRequest(stack=s.name, volume="data"))
    s.sh("box", "rm -rf /data/* && echo bad > /data/new && chmod 755 /data")
    await restore(Context(s.world), RestoreRequest(stack=s.name, source=s.path / taken.path, force=True))
    assert s.sh("box", look) == before
    nothing_left(s)


async def test_a_broken_archive_touches_nothing(stack, tmp_path):
    s = stack(BOX)
    await s.up()
    s.sh("box", "echo precious > /data/a")
    taken = await snapshot(
        Context(s.world), SnapshotRequest(stack=s.name, volume="data", target=tmp_path / "ok.tar.zst")
    )
    ids = s.ids()
    cut = tmp_path / "cut.tar.zst"
    cut.write_bytes((tmp_path / "ok.tar.zst").read_bytes()[:-40])
    with pytest.raises(ArchiveError) as caught:
        await restore(Context(s.world), RestoreRequest(stack=s.name, source=cut, force=True))
    assert caught.value.fields["reason"] == "damaged"
    limited = replace(s.world, settings=s.world.settings.model_copy(update={"archive_limit_bytes": 3}))
    with pytest.raises(ArchiveError, match="unpacks to more than 3"):
        await restore(Context(limited), RestoreRequest(stack=s.name, source=tmp_path / "ok.tar.zst", force=True))
    with pytest.raises(DefinitionError, match="no volume 'nope'"):
        await restore(
            Context(s.world), RestoreRequest(stack=s.name, source=tmp_path / taken.path, volume="nope", force=True)
        )
    assert s.ids() == ids
    assert s.sh("box", "cat /data/a") == "precious"


async def test_a_restore_that_fails_gives_back_what_was_there(stack, tmp_path, monkeypatch):
    s = stack(BOX)
    await s.up()
    s.sh("box", "echo precious > /data/a; chown 77 /data/a")
    await snapshot(Context(s.world), SnapshotRequest(stack=s.name, volume="data", target=tmp_path / "ok.tar.zst"))
    s.sh("box", "echo newer > /data/a")

    class Full:
        """A disk that is full after the first time something was unpacked to it."""

        def __init__(self, volumes):
            self.volumes, self.full = volumes, True

        def __getattr__(self, name):
            return getattr(self.volumes, name)

        def write(self, *arguments):
            self.volumes.write(*arguments)
            if self.full:
                self.full = False
                from moorage.errors import EngineError

                raise EngineError("no space left on device")

    world = replace(s.world, volumes=Full(s.world.volumes))
    with pytest.raises(RunError, match="no space left on device; the volume is as it was") as caught:
        await restore(Context(world), RestoreRequest(stack=s.name, source=tmp_path / "ok.tar.zst", force=True))
    assert caught.value.fields["undone"]
    assert s.sh("box", "cat /data/a; stat -c %u /data/a").split() == ["newer", "77"]
    assert (await s.status()).state == StackState.RUNNING
    nothing_left(s)


DIES = """
    import asyncio, os, signal, sys
    from moorage.settings import Settings
    from moorage.world import open_world
    from moorage.model.request import RestoreRequest, SnapshotRequest
    from moorage.work.operations.restore import restore
    from moorage.work.operations.snapshot import snapshot
    from moorage.work.runs import volume_copies
    from moorage.work.runs.context import Context
    from moorage.work.volumes.archive import Writer

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    world = open_world(lambda event: None, Settings.model_validate_json(sys.argv[1]))
    what, stack, file = sys.argv[2:5]
    if what == "snapshot":
        Writer.finish = die
        asyncio.run(snapshot(Context(world), SnapshotRequest(stack=stack, volume="data", target=file)))
    else:
        volume_copies.fill = die
        asyncio.run(restore(Context(world), RestoreRequest(stack=stack, source=file, force=True)))
"""


def dies(s, what, file):
    settings = s.world.settings.model_dump_json()
    done = subprocess.run(
        [sys.executable, "-c", dedent(DIES), settings, what, s.name, str(file)], env=os.environ, timeout=240
    )
    assert done.returncode == -signal.SIGKILL


async def test_kill_9_in_the_middle(stack, tmp_path):
    s = stack(BOX)
    await s.up()
    s.sh("box", "echo precious > /data/a")
    file = tmp_path / "data.tar.zst"
    dies(s, "snapshot", file)
    assert s.container("box").status == "exited"
    assert not file.exists()
    await sweep(Context(s.world), SweepRequest())
    assert s.container("box").status == "running"
    assert not list(tmp_path.glob(".*unfinished*"))
    nothing_left(s)
    await snapshot(Context(s.world), SnapshotRequest(stack=s.name, volume="data", target=file))
    s.sh("box", "echo newer > /data/a")
    dies(s, "restore", file)
    assert not s.containers("box"), "its volume had just been made anew"
    await sweep(Context(s.world), SweepRequest())
    assert s.sh("box", "cat /data/a") == "newer", "undone"
    nothing_left(s)


async def test_what_others_use_is_not_touched(stack, docker_client, stack_prefix):
    s = stack(BOX)
    await s.up()
    name = f"{s.name}_data"
    stranger = docker_client.containers.run(
        os.environ["TINY_IMAGE"], ["sleep", "600"], name=f"{stack_prefix}-stranger", detach=True, volumes=[f"{name}:/x"]
    )
    try:
        with pytest.raises(DefinitionError, match="outside this stack"):
            await snapshot(Context(s.world), SnapshotRequest(stack=s.name, volume="data"))
        assert s.container("box").status == "running"
    finally:
        stranger.remove(force=True)


async def test_prune_removes_ours_that_nobody_mounts(stack, docker_client, stack_prefix):
    up, down, gone = (stack(BOX, more) for more in ("-up", "-down", "-gone"))
    foreign = docker_client.volumes.create(f"{stack_prefix}-foreign", labels={"com.docker.compose.project": "x"})
    await asyncio.gather(*(s.up() for s in (up, down, gone)))
    await asyncio.gather(down.down(), gone.down())
    gone.world.store.forget_stack(gone.name)
    world = up.world
    listed = {v.name: v for v in volumes.listed(world, None)}
    assert set(listed) == {f"{s.name}_data" for s in (up, down, gone)}
    assert [user.service for user in listed[f"{up.name}_data"].users] == ["box"]
    chosen, others = prune.to_prune(world, None, all_=False)
    assert [v.name for v in chosen] == [f"{gone.name}_data"]
    assert [v.name for v in others] == [f"{down.name}_data"]
    chosen, others = prune.to_prune(world, None, all_=True)
    assert {v.name for v in chosen} == {f"{down.name}_data", f"{gone.name}_data"}
    await down.up()  # meanwhile
    removed, kept = prune.prune(world, chosen)
    assert [v.name for v in removed] == [f"{gone.name}_data"]
    assert kept == [f"{down.name}_data: now in use"]
    assert {v.name for v in docker_client.volumes.list() if v.name.startswith(stack_prefix)} == {
        foreign.name,
        f"{up.name}_data",
        f"{down.name}_data",
    }


@pytest.mark.usefixtures("lone_home")
def test_the_command(project, tiny_image):
    project.compose(f"""
        services: {{box: {{image: '{tiny_image}', command: sleep 600, init: true, volumes: ['data:/data']}}}}
        volumes: {{data: {{}}}}
    """)
    project.moorage("up")
    [found] = project.moorage("volumes", "ls", "--json").json
    assert (found["stack"], found["services"], found["in_use"]) == (project.name, ["box"], True)
    text = project.moorage("volumes", "ls").stdout
    assert "USED BY" in text
    taken = project.moorage("volumes", "snapshot", "data", "-o", "a.tar.zst", "--json").json
    assert (project.path / "a.tar.zst").stat().st_size == taken["size_bytes"]
    check = subprocess.run(
        ["sha256sum", "--check", "a.tar.zst.sha256"], cwd=project.path, check=True, capture_output=True
    )
    assert b"OK" in check.stdout
    assert "--force" in project.moorage("volumes", "snapshot", "data", "-o", "a.tar.zst", exit_code=2).stderr
    back = project.moorage("volumes", "restore", "a.tar.zst", "--json").json
    assert back["verified"]
    (project.path / "a.tar.zst").write_bytes(b"nonsense")
    refused = project.moorage("volumes", "restore", "a.tar.zst", "--json", "--force", exit_code=2)
    assert json.loads(refused.stdout)["reason"] == "damaged"
    project.moorage("down")
    assert "--force" in project.moorage("volumes", "prune", "--all", exit_code=1).stderr, "nobody there to ask"
    listed = project.moorage("volumes", "prune", "-a", "-n", "--json").json
    assert [one["name"] for one in listed["volumes"]] == [f"{project.name}_data"]
    pruned = project.moorage("volumes", "prune", project.name, "-a", "-f", "--json").json
    assert [one["removed"] for one in pruned["volumes"]] == [True]
