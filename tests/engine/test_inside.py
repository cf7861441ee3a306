"""What is in the containers: hooks, secrets, configs, networks, volumes."""

from __future__ import annotations

import pytest

from moorage.errors import RunError
from moorage.model.event import Action
from moorage.show.text import status_text

pytestmark = pytest.mark.engine

SLEEP = 'image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s'


# --- hooks ---------------------------------------------------------------------------------------------------


async def test_hooks_run_with_their_user_environment_and_directory(stack):
    s = stack("""
        services:
          web:
            image: ${TINY_IMAGE}
            user: "1000"
            environment: {OWN: own}
            command: [sleep, infinity]
            stop_grace_period: 0s
            volumes: ["data:/data"]
            post_start:
              - command: [sh, -c, 'echo "$$(id -u) $$(pwd) $$A $$OWN" > /data/post']
                user: root
                working_dir: /data
                environment: {A: "a b"}
              - command: [sh, -c, 'echo second >> /tmp/order; id -u >> /tmp/order']
            pre_stop:
              - command: [sh, -c, 'echo "stopping as $$(id -u) with $$B" > /data/pre']
                user: root
                environment: ["B=c d"]
        volumes: {data: {}}
    """)
    await s.up()
    assert s.sh("web", "cat /data/post") == "0 /data a b own"
    assert s.sh("web", "cat /tmp/order") == "second\n1000"
    assert s.sh("web", "ls /data") == "post"
    await s.stop()
    await s.start()
    assert s.sh("web", "cat /data/pre") == "stopping as 0 with c d"
    assert s.sh("web", "wc -l < /tmp/order") == "4"


async def test_a_post_start_hook_that_fails_fails_the_run(stack, machine_state):
    hook = "[{command: [sh, -c, 'echo went wrong >&2; exit 6']}]"
    s = stack(f"services: {{web: {{{SLEEP}, ports: ['80'], post_start: {hook}}}}}")
    error = await s.fails(RunError)
    assert error.exit_code == 5
    assert (error.fields["service"], error.fields["reason"]) == ("web", "post_start failed")
    assert (error.fields["exit_code_of_service"], error.fields["probe"]) == (6, "went wrong")
    assert s.leases == {}


async def test_a_pre_stop_hook_that_fails_does_not_keep_a_service(stack):
    hook = "[{command: [sh, -c, 'echo went wrong >&2; exit 6']}]"
    s = stack(f"services: {{web: {{{SLEEP}, pre_stop: {hook}}}}}")
    await s.up()
    s.events.clear()
    await s.stop()
    assert s.container("web").status == "exited"
    (said,) = [event for event in s.events if event.action == Action.NOTICE]
    assert "went wrong" in said.message


async def test_hooks_of_a_command_that_is_not_there(stack, machine_state):
    s = stack(f"services: {{web: {{{SLEEP}, post_start: [{{command: [no-such-program]}}]}}}}")
    error = await s.fails(RunError)
    assert "no-such-program" in str(error)
    assert error.fields["service"] == "web"


# --- secrets and configs -------------------------------------------------------------------------------------

SECRETS = """
    services:
      web:
        image: ${TINY_IMAGE}
        user: "1000"
        command: [sh, -c, 'cat /run/secrets/key > /tmp/at-start; exec sleep 3600']
        stop_grace_period: 0s
        secrets:
          - from_file
          - key
          - {source: key, target: /etc/app/other, uid: "1000", gid: "1000", mode: 0400}
        configs:
          - {source: inline, target: /etc/app/inline.conf}
          - {source: named, mode: 0600, uid: "1000"}
          - from_file
    secrets:
      from_file: {file: ./secret.txt}
      key: {environment: THE_KEY}
    configs:
      inline:
        content: |
          port = ${PORT:-80}
          cost = $$5
      named: {environment: THE_KEY}
      from_file: {file: ./app.conf}
"""


@pytest.fixture
def with_secrets(stack, monkeypatch):
    monkeypatch.setenv("THE_KEY", "s3cr$t 'quoted' \"twice\"")
    s = stack(SECRETS)
    s.write("secret.txt", "of the file")
    s.write("app.conf", "a = b")
    return s


async def test_secrets_and_configs_of_every_kind(with_secrets):
    s = with_secrets
    await s.up()
    key = "s3cr$t 'quoted' \"twice\""
    assert s.sh("web", "cat /run/secrets/from_file") == "of the file"
    assert s.sh("web", "cat /run/secrets/key") == key
    assert s.sh("web", "cat /tmp/at-start") == key
    assert s.sh("web", "cat /etc/app/other; stat -c '%u:%g %a' /etc/app/other") == f"{key}1000:1000 400"
    assert s.sh("web", "cat /etc/app/inline.conf") == "port = 80\ncost = $5"
    assert s.sh("web", "cat /named; stat -c '%u %a' /named") == f"{key}1000 600"
    assert s.sh("web", "cat /from_file") == "a = b"
    assert (await s.plan()).empty


async def test_another_value_makes_another_container(with_secrets, monkeypatch):
    s = with_secrets
    await s.up()
    before = s.ids()
    monkeypatch.setenv("THE_KEY", "another")
    assert [step.id for step in (await s.plan()).steps] == ["create", "start web", "ready web"]
    await s.up()
    assert s.sh("web", "cat /run/secrets/key") == "another"
    assert s.ids() != before


async def test_they_are_there_after_a_stop(with_secrets):
    s = with_secrets
    await s.up()
    await s.stop()
    await s.start()
    assert s.sh("web", "cat /run/secrets/key").startswith("s3cr")


async def test_a_dotenv_file_may_hold_the_value(stack):
    s = stack("""
        services: {web: {image: "${TINY_IMAGE}", command: [sleep, infinity], stop_grace_period: 0s, secrets: [key]}}
        secrets: {key: {environment: DOTENV_KEY}}
    """)
    s.write(".env", "DOTENV_KEY=of the env file")
    await s.up()
    assert s.sh("web", "cat /run/secrets/key") == "of the env file"


# --- networks ------------------------------------------------------------------------------------------------


async def test_the_network_of_another_service(stack):
    text = """
        services:
          main: {{image: "${{TINY_IMAGE}}", command: [httpd, -f, -p, "80", -h, /etc], stop_grace_period: 0s, environment: {{V: "{0}"}}}}
          side: {{image: "${{TINY_IMAGE}}", command: [sleep, infinity], stop_grace_period: 0s, network_mode: "service:main"}}
    """
    s = stack(text.format(1))
    await s.up()
    assert s.sh("side", "wget -qO- http://127.0.0.1/hostname") == s.container("main").id[:12]
    s.compose(text.format(2))
    await s.up()
    assert s.container("side").attrs["HostConfig"]["NetworkMode"] == f"container:{s.container('main').id}"
    assert s.sh("side", "wget -qO- http://127.0.0.1/hostname") == s.container("main").id[:12]
    assert (await s.plan()).empty
    await s.down()
    assert s.containers() == []


async def test_links_and_aliases(stack):
    s = stack(f"""
        services:
          db: {{{SLEEP}}}
          web: {{{SLEEP}, links: ["db:database"]}}
    """)
    await s.up()
    assert s.sh("web", "nslookup -type=a database > /dev/null && echo known") == "known"
    assert s.steps().index("start db") < s.steps().index("start web")


async def test_several_networks(stack):
    s = stack(f"""
        services:
          front: {{{SLEEP}, networks: [outer]}}
          middle: {{{SLEEP}, networks: {{outer: {{}}, inner: {{aliases: [core]}}}}}}
          back: {{{SLEEP}, networks: [inner]}}
        networks: {{outer: {{}}, inner: {{internal: true}}}}
    """)
    found = await s.up()
    assert found.networks == (f"{s.name}_inner", f"{s.name}_outer")
    assert s.sh("back", "nslookup -type=a core > /dev/null && echo known") == "known"
    assert s.sh("front", "nslookup -type=a back > /dev/null || echo unknown").endswith("unknown")
    await s.down()
    assert s.client.networks.list(names=[s.name]) == []


async def test_an_external_network_and_volume_are_never_removed(stack, docker_client, stack_prefix):
    network = docker_client.networks.create(f"{stack_prefix}-shared")
    volume = docker_client.volumes.create(f"{stack_prefix}-shared")
    s = stack(f"""
        services: {{web: {{{SLEEP}, networks: [shared], volumes: ["shared:/data"]}}}}
        networks: {{shared: {{external: true, name: {network.name}}}}}
        volumes: {{shared: {{external: true, name: {volume.name}}}}}
    """)
    await s.up()
    await s.down(volumes=True, release_ports=True)
    assert docker_client.networks.get(network.id).name == network.name
    assert docker_client.volumes.get(volume.name).id == volume.id


async def test_stacks_meet_on_a_shared_network_only(stack, docker_client, stack_prefix):
    shared = docker_client.networks.create(f"{stack_prefix}-proxy")
    text = f"""
        services:
          web: {{{SLEEP}, networks: {{default: {{}}, proxy: {{aliases: [NAME]}}}}}}
          db: {{{SLEEP}}}
        networks: {{proxy: {{external: true, name: {shared.name}}}}}
    """
    one, two = stack(text.replace("NAME", "web-one"), "-one"), stack(text.replace("NAME", "web-two"), "-two")
    found = await one.up()
    await two.up()
    assert (found.networks, found.shared_networks) == ((f"{one.name}_default",), (shared.name,))
    assert f"networks: {one.name}_default, {shared.name} (shared)" in status_text(await one.status())
    assert one.sh("web", "nslookup -type=a web-two > /dev/null && echo known") == "known"
    assert one.sh("db", "nslookup -type=a web-two > /dev/null || echo unknown").endswith("unknown")
    await one.down()
    assert [c.name for c in docker_client.networks.get(shared.id).containers] == [f"{two.name}-web-1"]


# --- volumes -------------------------------------------------------------------------------------------------


async def test_volumes_outlive_changes_and_down(stack):
    text = """
        services:
          web:
            image: ${{TINY_IMAGE}}
            command: [sleep, infinity]
            stop_grace_period: 0s
            environment: {{V: "{0}"}}
            volumes: [/anonymous, "named:/named"]
        volumes: {{named: {{}}}}
    """
    s = stack(text.format(1))
    await s.up()
    s.sh("web", "echo a > /anonymous/file; echo n > /named/file")
    before = s.ids()
    s.compose(text.format(2))
    await s.up()
    assert s.ids() != before
    assert s.sh("web", "cat /anonymous/file /named/file; echo $V") == "a\nn\n2"
    await s.down()
    await s.up()
    assert s.sh("web", "cat /named/file") == "n"
    await s.down(volumes=True)
    await s.up()
    assert s.sh("web", "ls /named /anonymous") == "/anonymous:\n\n/named:"


async def test_down_with_volumes_takes_the_anonymous_ones_too(stack, docker_client):
    s = stack(f"services: {{web: {{{SLEEP}, volumes: [/anonymous]}}}}")
    await s.up()
    (mount,) = s.container("web").attrs["Mounts"]
    await s.down(volumes=True)
    assert mount["Name"] not in {volume.name for volume in docker_client.volumes.list()}


async def test_bind_mounts_tmpfs_and_limits_are_as_compose_makes_them(stack):
    s = stack("""
        services:
          web:
            image: ${TINY_IMAGE}
            command: [sleep, infinity]
            stop_grace_period: 0s
            volumes: ["./data:/data:ro"]
            tmpfs: [/scratch]
            read_only: true
            cap_drop: [ALL]
            security_opt: ["no-new-privileges:true"]
            deploy: {resources: {limits: {memory: 32M, cpus: "0.5"}}}
            extra_hosts: ["somewhere:192.0.2.7"]
            labels: {own: label}
    """)
    s.write("data/file", "on the host")
    await s.up()
    assert s.sh("web", "cat /data/file") == "on the host"
    assert (
        s.sh("web", "echo x > /scratch/x && ! touch /x 2>/dev/null && grep somewhere /etc/hosts | cut -f1")
        == "192.0.2.7"
    )
    host = s.container("web").attrs["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["ReadonlyRootfs"]) == (32 << 20, 500_000_000, True)
    assert s.container("web").labels["own"] == "label"
    assert s.container("web").labels["moorage.stack"] == s.name
