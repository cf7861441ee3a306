"""Hostile projects: 130 made by hand, and as many more as one asks for, made from a seed.

Each is a function that lays a project out in a folder. None is run: `plan` and `config` read it, and `up` refuses what
`plan` refuses.
"""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Layout = Callable[[Path], None]

IMAGE = "moorage-base/tiny:1"
BIDI, ESCAPE = "a\u202eb\u2066c", "\x1b[31mred\x1b]0;title\x07"


def text(compose: str | bytes, **files: str | bytes) -> Layout:
    """A compose file as it stands, and files beside it: `a__b` is named `a/b`."""

    def lay_out(folder: Path) -> None:
        for name, content in {"compose.yaml": compose, **files}.items():
            path = folder / name.replace("__", "/").replace("dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogateescape"))

    return lay_out


def made(project: dict[str, Any], then: Callable[[Path], None] = lambda _folder: None, **files: str | bytes) -> Layout:
    """A compose file as JSON, which is YAML, and what is done to the folder then."""

    def lay_out(folder: Path) -> None:
        text(json.dumps(project), **files)(folder)
        then(folder)

    return lay_out


def web(then: Callable[[Path], None] = lambda _folder: None, /, **keys: Any) -> Layout:
    """A project of one service that has these keys besides its image."""
    return made({"services": {"web": {"image": IMAGE, **keys}}}, then)


def stack(**options: Any) -> Layout:
    return made({"services": {"web": {"image": IMAGE}}, "x-moorage": options})


def ready(**check: Any) -> Layout:
    return web(**{"x-moorage": {"ready": check}})


def build(then: Callable[[Path], None] = lambda _folder: None, /, **keys: Any) -> Layout:
    def lay_out(folder: Path) -> None:
        (folder / "Dockerfile").write_text("FROM scratch\n")
        then(folder)

    return made({"services": {"web": {"build": {"context": ".", **keys}}}}, lay_out)


def nested(depth: int, value: Any = 1) -> Any:
    for _ in range(depth):
        value = {"a": value}
    return value


def fifo(name: str) -> Callable[[Path], None]:
    return lambda folder: os.mkfifo(folder / name)


def link(name: str, target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(target)


def sparse(name: str, size: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return make


def a_socket(folder: Path) -> None:
    at = os.open(folder, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{at}/socket")
    finally:
        os.close(at)


def many(names: Callable[[int], str], count: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for number in range(count):
            (folder / names(number)).touch()

    return make


def both(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for step in steps:
            step(folder)

    return make


def ignoring(patterns: str, *then: Callable[[Path], None]) -> Layout:
    return build(both(text_file(".dockerignore", patterns), *then))


def text_file(name: str, content: str | bytes) -> Callable[[Path], None]:
    data = content if isinstance(content, bytes) else content.encode(errors="surrogateescape")
    return lambda folder: (folder / name).write_bytes(data) and None


def special(what: Callable[[str], Layout]) -> Iterator[tuple[str, Layout]]:
    """The same with each file that has no end or is none: `what` gets its name."""
    for name in ("/dev/zero", "/dev/full", "/dev/stdin", "/proc/kmsg", "/proc/self/mem", "/etc", "/dev/tty"):
        yield name, what(name)


BOMB = "x0: &x0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n" + "".join(
    f"x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
SERVICE = f"services: {{web: {{image: '{IMAGE}'}}}}\n"


def by_hand() -> dict[str, Layout]:
    found: dict[str, Layout] = {
        # YAML
        "nothing": text(""),
        "a number": text("5"),
        "a list": text("[]"),
        "not UTF-8": text(b"services: {web: {image: '\xff\xfe'}}"),
        "UTF-16": text("services: {}".encode("utf-16")),
        "NUL bytes": text(b"\0" * 5000),
        "a megabyte of noise": text(random.Random(1).randbytes(1 << 20)),
        "alias bomb": text(BOMB + "services: {web: {image: x, labels: *x9}}\n"),
        "alias bomb in an extension": text(BOMB.replace("x0", "x-0").replace("x9", "x-9") + SERVICE),
        "merge bomb": text(
            "x-a: &a {k1: v, k2: v, k3: v}\n"
            f"services: {{web: {{image: x, labels: {{<<: [{','.join(['*a'] * 20000)}]}}}}}}\n"
        ),
        "merge loop": text("x-a: &a {<<: *a}\n" + SERVICE),
        "anchor in itself": text("services: &s {web: *s}\n"),
        "deep list": text("services: " + "[" * 50_000 + "]" * 50_000),
        "deep list not closed": text("services: " + "[" * 200_000),
        "deep mapping": text("{a: " * 20_000 + "1" + "}" * 20_000),
        "deep extension": made({"services": {"web": {"image": IMAGE}}, "x-deep": nested(900)}),
        "very deep extension": text(
            f"services: {{web: {{image: '{IMAGE}'}}}}\nx-deep: " + "{a: " * 9000 + "1" + "}" * 9000
        ),
        "deep extension of a service": web(**{"x-deep": nested(900)}),
        "deep x-moorage": web(**{"x-moorage": nested(400)}),
        "long line": text(f"services: {{web: {{image: '{'a' * 3_000_000}'}}}}"),
        "a key twice": text("services: {web: {image: x}, web: {image: y}}"),
        "two documents": text(SERVICE + "---\n" + SERVICE),
        "a thousand documents": text((SERVICE + "---\n") * 1000),
        "a tag for Python": text("services: !!python/object/apply:os.system ['touch /tmp/hostile']"),
        "an unknown tag": text("services: {web: {image: !secret x}}"),
        "binary": text("services: {web: {image: !!binary 'AAAA'}}"),
        "keys that are no texts": text("services: {1: {image: x}, null: {image: y}, [a]: {image: z}}"),
        "100 000 services": text("services:\n" + "".join(f"  s{n}: {{image: x}}\n" for n in range(100_000))),
        "5 000 services": text("services:\n" + "".join(f"  s{n}: {{image: x}}\n" for n in range(5_000))),
        "100 000 labels": web(labels={f"l{n}": "x" for n in range(100_000)}),
        "100 000 variables": web(environment={f"V{n}": "x" for n in range(100_000)}),
        "50 000 ports": web(ports=[f"{n}" for n in range(1, 50_000)]),
        "all ports": web(ports=["1-65535:1-65535"]),
        "dependencies in a circle": made(
            {"services": {f"s{n}": {"image": IMAGE, "depends_on": [f"s{(n + 1) % 300}"]} for n in range(300)}}
        ),
        "a long chain": made(
            {
                "services": {
                    f"s{n}": {"image": IMAGE, **({"depends_on": [f"s{n + 1}"]} if n < 999 else {})} for n in range(1000)
                }
            }
        ),
        "all depend on all": made(
            {"services": {f"s{n}": {"image": IMAGE, "depends_on": [f"s{m}" for m in range(n)]} for n in range(200)}}
        ),
        # names
        "service with an escape": made({"services": {ESCAPE: {"image": IMAGE}}}),
        "service with bidi": made({"services": {BIDI: {"image": IMAGE}}}),
        "service with NUL": made({"services": {"a\0b": {"image": IMAGE}}}),
        "service with a line end": made({"services": {"a\nb": {"image": IMAGE}}}),
        "service named like a path": made({"services": {"../../etc": {"image": IMAGE}}}),
        "service named like an option": made({"services": {"--help": {"image": IMAGE}}}),
        "service without a name": made({"services": {"": {"image": IMAGE}}}),
        "service with a very long name": made({"services": {"a" * 5000: {"image": IMAGE}}}),
        "name with an escape": made({"name": ESCAPE, "services": {"web": {"image": IMAGE}}}),
        "name like a path": made({"name": "../../x", "services": {"web": {"image": IMAGE}}}),
        "name that is a list": made({"name": [], "services": {"web": {"image": IMAGE}}}),
        "name of a container": web(container_name="../" * 2000),
        "name of a container with an escape": web(container_name=ESCAPE),
        "image with an escape": web(image=ESCAPE),
        "image with a line end": web(image="a\n::error::b"),
        "volume like a path": made({"services": {"web": {"image": IMAGE}}, "volumes": {"../x": {}}}),
        "volume name with NUL": made({"services": {"web": {"image": IMAGE}}, "volumes": {"x": {"name": "a\0"}}}),
        "network with an escape": made({"services": {"web": {"image": IMAGE}}, "networks": {ESCAPE: {}}}),
        # numbers, durations, ports
        "ports: negative": web(ports=[{"target": -5}]),
        "ports: zero": web(ports=[{"target": 0, "published": "0"}]),
        "ports: huge": web(ports=[{"target": 80, "published": "9" * 5000}]),
        "ports: not a number": web(ports=["a:b:c:d:e"]),
        "ports: backwards": web(ports=["9000-8000:80"]),
        "ports: of another machine": web(ports=["999.999.999.999:80:80"]),
        "ports: interface with an escape": web(ports=[{"target": 80, "host_ip": ESCAPE}]),
        "ports: unicode digits": web(ports=["８０:８０"]),
        "ports: a variable without end": web(ports=["${A"]),
        "ports: nested variables": web(ports=["${A:-" * 500 + "80" + "}" * 500]),
        "variables: a missing one": web(image="${A:?\x1b[31m no}"),
        "variables: a very long default": web(image="${A:-" + "x" * 1_000_000 + "}"),
        "scale: huge": web(deploy={"replicas": 10**9}),
        "scale: negative": web(scale=-1),
        "memory: huge": web(mem_limit="999999999999999g"),
        "cpus: not a number": web(cpus="NaN"),
        "cpus: infinite": web(cpus=".inf"),
        "stop: for ever": web(stop_grace_period="99999999999h"),
        "health check: odd": web(healthcheck={"test": ["CMD"], "interval": "-1s", "retries": 10**12}),
        "health check: nothing": web(healthcheck={"test": []}),
        "config mode": made(
            {
                "services": {"web": {"image": IMAGE, "configs": [{"source": "c", "mode": -1, "uid": "abc"}]}},
                "configs": {"c": {"content": "x"}},
            }
        ),
        "shm_size: text": web(shm_size="x" * 10_000),
        "ulimits: huge": web(ulimits={"nofile": 10**30}),
        "sysctls: escape": web(sysctls={ESCAPE: "1"}),
        "init: text": web(init="yes please"),
        # x-moorage
        "ready: nested stars": ready(log="^(a+)+$"),
        "ready: too many repetitions": ready(log="((x{500}){500}){500}"),
        "ready: not closed": ready(log="("),
        "ready: many brackets": ready(log="(" * 60_000),
        "ready: very long": ready(log="a" * 1_000_000),
        "ready: look-behind": ready(log="(?<=a)b"),
        "ready: bytes that are no text": ready(log="\x00\x80"),
        "ready: timeout of nothing": ready(tcp=80, timeout="0s"),
        "ready: timeout of years": ready(tcp=80, timeout="99999999999h"),
        "ready: timeout that is a list": ready(tcp=80, timeout=[1]),
        "ready: timeout in megabytes": ready(tcp=80, timeout="1h" * 200_000),
        "ready: path null": ready(http={"path": None}),
        "ready: path a list": ready(http={"path": ["a"]}),
        "ready: path with a line end": ready(http="/a\r\nHost: b"),
        "ready: port": ready(http={"path": "/", "port": 10**20}),
        "ready: status": ready(http={"path": "/", "status": "x"}),
        "ready: command of nothing": ready(exec=[]),
        "ready: command of lists": ready(exec=[[], {}]),
        "ready: two": ready(tcp=1, exec="x"),
        "ready: a list": web(**{"x-moorage": {"ready": [1]}}),
        "x-moorage: a list": web(**{"x-moorage": [1, 2]}),
        "x-moorage: a text": made({"services": {"web": {"image": IMAGE}}, "x-moorage": "yes"}),
        "x-moorage: unknown key": web(**{"x-moorage": {ESCAPE: 1}}),
        "ttl: a list": stack(ttl=[1]),
        "ttl: years": stack(ttl="99999999999h"),
        "ttl: negative": stack(ttl=-1),
        "ttl: infinite": stack(ttl=1e308),
        "builder: a mapping": stack(builder={"a": 1}),
        "approve: a text": stack(approve="perhaps"),
        "heal: a list": stack(heal=[[]]),
        "secret_files: a number": stack(secret_files=5),
        "secret_files: devices": stack(secret_files=["/dev/zero", "/proc/kmsg", "/dev/stdin"]),
        "secret_files: ten thousand": stack(secret_files=[f"f{n}" for n in range(10_000)]),
        "secret_files: NUL": stack(secret_files=["a\0b"]),
        # contexts
        "context: the pipe in it": build(fifo("pipe")),
        "context: a socket in it": build(a_socket),
        "context: a terabyte": build(sparse("big", 1 << 40)),
        "context: nine gigabytes": build(sparse("big", 9 << 30)),
        "context: links in a circle": build(both(link("a", "b"), link("b", "a"), link("self", "."))),
        "context: itself in a circle": build(link("loop", "loop"), context="loop"),
        "context: a link to a device": build(link("requirements.txt", "/dev/zero")),
        "context: Dockerfile is a pipe": build(fifo("D"), dockerfile="D"),
        "context: Dockerfile is a device": build(dockerfile="/dev/zero"),
        "context: Dockerfile is a folder": build(dockerfile="."),
        "context: Dockerfile of a gigabyte": build(sparse("D", 1 << 30), dockerfile="D"),
        "context: Dockerfile with a NUL name": build(dockerfile="a\0b"),
        "context: ignore file is a pipe": build(fifo(".dockerignore")),
        "context: ignore file is a device": build(link(".dockerignore", "/dev/zero")),
        "context: ignore file of a gigabyte": build(sparse(".dockerignore", 1 << 30)),
        "context: forty stars": ignoring("*a" * 40 + "b\n", text_file("a" * 200, "")),
        "context: forty double stars": ignoring("**/a" * 40 + "\n", text_file("a" * 200, "")),
        "context: twenty thousand patterns": ignoring(
            "".join(f"*x{n}*\n" for n in range(20_000)), many(lambda n: f"f{n}", 20)
        ),
        "context: a pattern that is none": ignoring("[z-a]\n[\n!\n**[\n\\\n"),
        "context: names that are not UTF-8": ignoring(
            "caf\udce9\n", lambda f: Path(os.fsdecode(os.fsencode(f) + b"/\xe9\xff")).touch()
        ),
        "context: names with line ends": build(lambda f: (f / "a\nb\x1b[31m").touch()),
        "context: five thousand files": build(many(lambda n: f"f{n}", 5000)),
        "context: ssh keys": build(ssh=["default=/dev/zero"]),
        "context: arguments of megabytes": build(args={"A": "x" * 3_000_000}),
        "context: inline of megabytes": build(dockerfile_inline="RUN x\n" * 300_000),
        "context: heredoc without end": build(dockerfile_inline="FROM a\nRUN <<E\n" * 20_000),
        "context: escapes": build(text_file("Dockerfile", "FROM a \\\n" * 60_000)),
        "context: variables in circles": build(text_file("Dockerfile", "ARG A=$B\nARG B=$A\nFROM $A\n" * 2000)),
        "context: from git": build(context="https://127.0.0.1:9/x.git"),
        # files
        "env file: a pipe": web(fifo("e"), env_file="e"),
        "env file: a gigabyte": web(sparse("e", 1 << 30), env_file="e"),
        "env file: a line of megabytes": web(text_file("e", "A=" + "x" * 4_000_000), env_file="e"),
        "env file: in a circle": web(link("e", "e"), env_file="e"),
        "env file: NUL": web(text_file("e", b"A=\0\nB\0=1\n"), env_file="e"),
        "env file: variables in variables": web(
            text_file("e", "A0=xxxxxxxxxx\n" + "".join(f"A{n}=${{A{n - 1}}}${{A{n - 1}}}\n" for n in range(1, 60))),
            env_file="e",
        ),
        ".env: a pipe": web(fifo(".env")),
        ".env: a device": web(link(".env", "/dev/zero")),
        ".env: a gigabyte": web(sparse(".env", 1 << 30)),
        ".env: noise": web(text_file(".env", random.Random(2).randbytes(200_000))),
        ".env: files": web(text_file(".env", "COMPOSE_FILE=/dev/zero\n")),
        ".env: a name": web(text_file(".env", "COMPOSE_PROJECT_NAME=../../x\n")),
        "include: itself": made({"include": ["compose.yaml"], "services": {"web": {"image": IMAGE}}}),
        "include: in a circle": text("include: [b.yaml]", **{"b.yaml": "include: [compose.yaml]"}),
        "include: a pipe": made({"include": ["p"]}, fifo("p")),
        "include: a thousand": made({"include": [f"f{n}.yaml" for n in range(1000)]}),
        "include: a number": made({"include": 5}),
        "include: from git": made({"include": ["https://127.0.0.1:9/x.git"]}),
        "extends: itself": made({"services": {"web": {"extends": "web"}}}),
        "extends: a pipe": made({"services": {"web": {"extends": {"file": "p", "service": "x"}}}}, fifo("p")),
        "compose file: a pipe": lambda f: os.mkfifo(f / "compose.yaml"),
        "compose file: a link to a device": link("compose.yaml", "/dev/zero"),
        "compose file: in a circle": link("compose.yaml", "compose.yaml"),
        "compose file: a folder": lambda f: (f / "compose.yaml").mkdir(),
        "compose file: a gigabyte": sparse("compose.yaml", 1 << 30),
        "compose file: memory": link("compose.yaml", "/proc/self/mem"),
        "secret: a pipe": made(
            {"services": {"web": {"image": IMAGE, "secrets": ["s"]}}, "secrets": {"s": {"file": "p"}}}, fifo("p")
        ),
        "secret: a gigabyte": made(
            {"services": {"web": {"image": IMAGE, "secrets": ["s"]}}, "secrets": {"s": {"file": "p"}}},
            sparse("p", 1 << 30),
        ),
        ".git: a pipe": web(fifo(".git")),
        ".git: megabytes": web(text_file(".git", b"gitdir: " + b"x" * 5_000_000)),
        ".git: head is a device": web(both(lambda f: (f / ".git").mkdir(), link(".git/HEAD", "/dev/zero"))),
    }
    for what, of in {
        "context: ": lambda name: build(context=name),
        "env file: ": lambda name: web(env_file=name),
        "include: ": lambda name: made({"include": [name]}),
        "extends: ": lambda name: made({"services": {"web": {"extends": {"file": name, "service": "x"}}}}),
        "secret: ": lambda name: made(
            {"services": {"web": {"image": IMAGE, "secrets": ["s"]}}, "secrets": {"s": {"file": name}}}
        ),
        "config: ": lambda name: made(
            {"services": {"web": {"image": IMAGE, "configs": ["s"]}}, "configs": {"s": {"file": name}}}
        ),
    }.items():
        found |= {f"{what}{name}": layout for name, layout in special(of)}
    found |= {
        f"context: {name}": build(context=name)
        for name in ("/", "/proc", "/sys", "/dev", "/proc/1", "/var/run/docker.sock")
    }
    return found


KEYS = (
    "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name cpu_count "
    "cpu_percent cpu_shares cpus cpuset credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt "
    "dns_search domainname entrypoint env_file environment expose extends external_links extra_hosts gpus group_add "
    "healthcheck hostname image init ipc isolation label_file labels links logging mac_address mem_limit mem_reservation "
    "mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform "
    "ports post_start pre_start pre_stop privileged profiles provider pull_policy read_only restart runtime scale secrets "
    "security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket "
    "user userns_mode uts volumes volumes_from working_dir x-moorage"
).split()
OF_MOORAGE = ("ttl", "builder", "approve", "heal", "secret_files")
OF_SERVICES = ("ready", "probe")
OF_READY = ("http", "tcp", "log", "exec", "exit", "timeout")
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        "",
        [],
        {},
        0,
        -1,
        1.5,
        1e308,
        10**30,
        -(10**30),
        [[]],
        [None],
        {"": None},
        [{}],
        {"a": {"b": {"c": []}}},
    ),
    *(
        "a\0b",
        "a\nb",
        ESCAPE,
        BIDI,
        "$",
        "${",
        "${A:?no}",
        "$$",
        "9" * 5000,
        "x" * 100_000,
        "../" * 500,
        "/dev/zero",
        "~",
        "-",
    ),
    *(
        "0",
        "-1",
        "1e9999",
        "NaN",
        "1h" * 999,
        "65536:65536",
        "${A:-[}",
        "!!x",
        "0x7fffffffffffffff",
        "\ud7ff\ufffd",
        "''",
    ),
    *(
        ["x"] * 3000,
        {f"k{n}": n for n in range(3000)},
        nested(60),
        {"<<": {"a": 1}},
        ["${A}", 5, None, []],
        [":", "::", ":::"],
    ),
)


def generated(seed: int, count: int) -> dict[str, Layout]:
    """Projects with values where they do not belong, one to three at a time."""
    chance = random.Random(seed)
    found: dict[str, Layout] = {}
    for number in range(count):
        service: dict[str, Any] = {"image": IMAGE}
        project: dict[str, Any] = {"services": {"web": service, "other": {"image": IMAGE}}}
        places = []
        for _ in range(chance.randint(1, 3)):
            value = chance.choice(VALUES)
            match chance.randrange(6):
                case 0:
                    key = chance.choice(OF_MOORAGE)
                    project.setdefault("x-moorage", {})[key] = value
                case 1:
                    key = chance.choice(OF_READY)
                    service.setdefault("x-moorage", {})
                    if isinstance(service["x-moorage"], dict):
                        service["x-moorage"].setdefault("ready", {})
                        if isinstance(service["x-moorage"]["ready"], dict):
                            service["x-moorage"]["ready"][key] = value
                case 2:
                    key = chance.choice(("name", "networks", "volumes", "secrets", "configs", "include", "services"))
                    project[key] = {"x": value} if key != "name" and chance.random() < 0.6 else value
                case 3:
                    key = chance.choice(("healthcheck", "build", "deploy", "logging", "develop"))
                    inner = chance.choice(
                        ("test", "interval", "context", "dockerfile", "args", "replicas", "options", "watch")
                    )
                    service[key] = {inner: value}
                case _:
                    key = chance.choice(KEYS)
                    service[key] = [value] if chance.random() < 0.3 else value
            places.append(key)
        found[f"seed {seed}, {number}: {' '.join(places)}"] = made(project)
    return found
