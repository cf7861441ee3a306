"""A session of a Dagger engine as far as its schema goes: for the real SDK, without an engine.

Every request is validated against the engine's own schema, and each id against the type that the schema expects.
Answers come from the schema (an object is what it was asked for, a scalar its type's plainest value), but for what has
an effect: builds are carried out on the Docker engine, call by call as a Dockerfile; services and tunnels behave as
`dagger_services.py` says. What a real engine (v0.21.8) was seen to do is done here; nothing else is.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import graphql
from docker.errors import APIError
from docker.utils.build import exclude_paths

from tests.contract.dagger_services import (
    TRACE,
    Attachment,
    Conduct,
    Running,
    Tunnel,
    exec_error,
    health_of,
    host_of,
    listen_everywhere,
    told,
)

SCHEMA = Path(__file__).parent / "dagger" / "schema.graphqls"
IGNORE_FILES = ("{0}.dockerignore", ".dockerignore")
"""Where `dockerBuild` looks for what is ignored; of each that is not there its log has a line that looks like an error."""
PLAINEST = {
    "String": "",
    "Int": 0,
    "Boolean": False,
    "Float": 0.0,
    "Void": None,
    "JSON": "{}",
    "Platform": "linux/amd64",
}


@cache
def schema() -> graphql.GraphQLSchema:
    return graphql.build_schema(Path(os.environ.get("MOORAGE_DAGGER_SCHEMA") or SCHEMA).read_text())


@cache
def introspection(query: str) -> str:
    return json.dumps(graphql.graphql_sync(schema(), query).formatted)


@dataclass(frozen=True)
class Node:
    """An object of the API: the call that gives it."""

    type: str
    parent: Node | None
    call: str
    args: str
    """JSON, so that equal calls are equal objects."""

    @property
    def id(self) -> str:
        return f"{self.type}:{sha256(repr(self).encode()).hexdigest()[:24]}"

    @property
    def arguments(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.args)
        return found

    def chain(self) -> list[Node]:
        return [*(self.parent.chain() if self.parent else []), self]


ROOT = Node("Query", None, "", "{}")


@dataclass
class Session:
    """What has been asked, and what is wrong with it. Set `hang`, `fail` and `answers` to make a test's weather."""

    docker: Any = None
    """The Docker SDK's client, for builds. None: exports write nothing but a mark."""
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """(type, field, arguments), each as asked."""
    problems: list[str] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    hang: str = ""
    """The field that never answers."""
    fail: dict[str, graphql.GraphQLError] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=lambda: {"version": "v0.21.8"})
    """The engine's version need not be the SDK's."""
    conduct: dict[str, Conduct] = field(default_factory=dict)
    """How services behave, by host name; others do as they are asked."""
    healthchecks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Image → the `HEALTHCHECK` in it."""
    exposed: dict[str, int] = field(default_factory=dict)
    """Dockerfile → the port that it exposes: such a port is asked like one of `withExposedPort`."""
    from_nothing: set[str] = field(default_factory=set)
    """Dockerfiles whose last stage is `FROM scratch`: built for the engine's platform, whatever was asked for."""
    running: dict[str, Running] = field(default_factory=dict)
    """Services by host name, also those that have ended."""
    tunnels: dict[str, Tunnel] = field(default_factory=dict)
    """By the id of the tunnel."""
    attached: Attachment | None = None
    """The CLI. None: the session is one of `dagger run`, and who opened it listens."""
    built: set[str] = field(default_factory=set)
    """Ids of what `dockerBuild` has given."""
    events: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def listening(self) -> list[str]:
        """Services with a tunnel that is open."""
        return [one.upstream.name for one in self.tunnels.values() if one.open]

    def fields(self, type_: str) -> list[str]:
        return [name for of, name, _ in self.calls if of == type_]

    def arguments_of(self, call: str) -> list[dict[str, Any]]:
        return [args for _, name, args in self.calls if name == call]

    # --- requests ---

    def answer(self, body: dict[str, Any]) -> str:
        query = body["query"]
        if "__schema" in query:
            return introspection(query)
        document = graphql.parse(query)
        if wrong := graphql.validate(schema(), document):
            self.problems += [error.message for error in wrong]
            return json.dumps({"errors": [error.formatted for error in wrong]})
        result = graphql.execute_sync(
            schema(),
            document,
            root_value=ROOT,
            variable_values=body.get("variables"),
            field_resolver=self.resolve,
            type_resolver=lambda node, *_: node.type,
        )
        for error in result.errors or ():
            if error.original_error is not None and not isinstance(error.original_error, graphql.GraphQLError):
                self.problems.append(f"this server failed: {error.original_error!r}")
        return json.dumps(result.formatted)

    def resolve(self, node: Node, info: graphql.GraphQLResolveInfo, **args: Any) -> Any:
        name = info.field_name
        self._check_ids(info, args)
        self.calls.append((node.type, name, args))
        if name in ("sync", "exposedPorts", "export"):
            self._evaluate(node)
        if name in self.fail:
            raise self.fail[name]
        if name == self.hang:
            self.released.wait(60)
            raise told("too late")
        if name == "id":
            return self._known(node)
        if name == "node":
            return self.nodes[args["id"]]
        if name in ("sync", "start", "stop"):
            if node.type == "Service":
                self._effect(name, node, args)
            return self._known(node)
        if name == "dockerHealthcheck" and (health_of(_calls(node), self._image_s(node)) or ("NONE",)) == ("NONE",):
            return None
        of = info.return_type
        while isinstance(of, graphql.GraphQLNonNull):
            of = of.of_type
        if isinstance(of, graphql.GraphQLObjectType):
            return Node(of.name, node, name, json.dumps(args, sort_keys=True))
        if isinstance(of, graphql.GraphQLList):
            return self._list(name, node)
        return self._scalar(name, node, args, str(of))

    def _list(self, name: str, node: Node) -> Any:
        if name == "exposedPorts":
            return [Node("Port", node, name, json.dumps({"port": port})) for port in self._ports_of(node)]
        if name == "args" and node.call == "dockerHealthcheck":
            assert node.parent is not None
            return (health_of(_calls(node.parent), self._image_s(node.parent)) or ())[1:]
        return self.answers.get(name, [])

    def _scalar(self, name: str, node: Node, args: dict[str, Any], of: str) -> Any:
        if name == "export":
            self._export(node, Path(args["path"]))
        if name == "endpoint":
            return f"{'127.0.0.1' if node.call == 'tunnel' else host_of(self.name_of(node))}:{args['port']}"
        if name == "platform" and node.type == "Container":
            return self._platform_of(node)
        if name == "hostname":
            return host_of(self.name_of(node))
        if node.call == "dockerHealthcheck" and node.parent is not None:
            found = health_of(_calls(node.parent), self._image_s(node.parent)) or ()
            return found[0] == "CMD-SHELL" if name == "shell" else {"retries": 0}.get(name, "0s")
        if node.type == "Port" and name in ("port", "protocol"):
            return node.arguments["port"] if name == "port" else "TCP"
        return self.answers.get(name, PLAINEST.get(of, ""))

    def _known(self, node: Node) -> str:
        self.nodes[node.id] = node
        return node.id

    def _check_ids(self, info: graphql.GraphQLResolveInfo, args: dict[str, Any]) -> None:
        """`@expectedType(name: "Service")` of an argument: the id has to be one of that type, and of this session."""
        arguments = info.parent_type.fields[info.field_name].args
        for name, value in args.items():
            node = arguments[name].ast_node
            for directive in (node and node.directives) or ():
                if directive.name.value == "expectedType":
                    wanted = directive.arguments[0].value.value
                    for one in value if isinstance(value, list) else [value]:
                        if one is not None and (one not in self.nodes or self.nodes[one].type != wanted):
                            self.problems.append(f"{info.parent_type}.{info.field_name}({name}): {one} is no {wanted}")

    # --- effects ---

    def _effect(self, name: str, node: Node, args: dict[str, Any]) -> None:
        self.events.append(f"{name} {self.name_of(node)}{' by SIGKILL' if args.get('kill') else ''}")
        if node.call == "tunnel":
            if name == "start":
                self._tunnel(node)
            elif there := self.tunnels.pop(node.id, None):
                there.close()
        elif name == "start":
            self._start(node)
        elif one := self.running.get(self.name_of(node)):
            one.stop(bool(args.get("kill")), self.released)

    def _start(self, node: Node) -> None:
        name = self.name_of(node)
        if name in self.running and not self.running[name].exited.is_set():
            return
        container = node.parent.parent if node.call == "withHostname" and node.parent else node.parent
        assert container is not None
        service = next(one for one in node.chain() if one.call == "asService")
        started = Running(
            name=name,
            conduct=self.conduct.get(name) or Conduct(),
            init=not service.arguments.get("noInit"),
            ports=tuple(port for port, asked in self._ports_of(container).items() if asked),
            health=health_of(_calls(container), self._image_s(container)),
            tell=self.events.append,
        )
        for one in container.chain():
            if one.call == "withServiceBinding":
                self._bind(started, self.name_of(self.nodes[one.arguments["service"]]))
        self.running[name] = started
        try:
            started.wait(self.released)
        finally:
            started.settled.set()

    def _bind(self, started: Running, name: str) -> None:
        other = self.running.get(name)
        if other is None or other.exited.is_set():
            raise told(f"start dependent services: bound service {host_of(name)} exited")
        other.dependents.append(started)

    def _tunnel(self, node: Node) -> None:
        upstream = self.running[self.name_of(self.nodes[node.arguments["service"]])]
        tunnel = self.tunnels[node.id] = Tunnel(upstream)
        listen = self.attached.listen if self.attached else listen_everywhere
        for one in node.arguments["ports"]:
            tunnel.close_all.append(listen(one["frontend"], upstream.answer))
        upstream.tunnels.append(tunnel)

    def _platform_of(self, container: Node) -> str:
        origin = next(one for one in container.chain() if one.call in ("container", "dockerBuild"))
        dockerfile = origin.arguments.get("dockerfile", "Dockerfile") if origin.call == "dockerBuild" else ""
        asked = None if dockerfile in self.from_nothing else origin.arguments.get("platform")
        return str(asked or PLAINEST["Platform"])

    def _ports_of(self, container: Node) -> dict[int, bool]:
        """Port → whether the engine asks it before a service counts as started."""
        found: dict[int, bool] = {}
        for one in container.chain():
            if one.call == "dockerBuild" and (port := self.exposed.get(one.arguments.get("dockerfile", "Dockerfile"))):
                found[port] = True
            if one.call == "withExposedPort":
                found[one.arguments["port"]] = not one.arguments.get("experimentalSkipHealthcheck")
        return found

    def _image_s(self, container: Node) -> tuple[str, ...] | None:
        names = [one.arguments["address"] for one in container.chain() if one.call == "from"]
        return self.healthchecks.get(names[-1]) if names else None

    def end(self) -> None:
        """The client has gone: services are killed, none is asked to end (`StopSessionServices`)."""
        for one in self.running.values():
            if not one.exited.is_set():
                self.events.append(f"kill {one.name} at the end of the session")
                one.end(137)
        for tunnel in self.tunnels.values():
            tunnel.close()

    def name_of(self, node: Node) -> str:
        """`tunnel of db`, `db`: services by their host names."""
        if node.call == "tunnel":
            return f"tunnel of {self.name_of(self.nodes[node.arguments['service']])}"
        names = [one.arguments["hostname"] for one in node.chain() if one.call == "withHostname"]
        return names[-1] if names else node.type

    def _evaluate(self, node: Node) -> None:
        """What is lazy until now is done; builds are carried out by the kitchen where there is one."""
        for one in node.chain() if self.docker is None else ():
            if one.call == "dockerBuild" and one.id not in self.built:
                self.built.add(one.id)
                self.miss_ignore_files(Path("/nowhere"), one.arguments.get("dockerfile", "Dockerfile"))

    def miss_ignore_files(self, context: Path, dockerfile: str) -> None:
        """`applyDockerIgnore` looks for both files, whatever the client has left out; the log tells what it missed."""
        for name in (pattern.format(dockerfile) for pattern in IGNORE_FILES):
            if self.attached and not (context / name).exists():
                self.attached.say(f"19  : ┆ ┆ ! stat {name}: no such file or directory{TRACE}")

    def _export(self, tarball: Node, path: Path) -> None:
        if self.docker is None:
            path.write_bytes(b"no archive")
            return
        assert tarball.parent is not None
        image = Kitchen(self, path.parent / "kitchen").image(tarball.parent)
        with path.open("wb") as file:
            for chunk in self.docker.api.get_image(image):
                file.write(chunk)
        with suppress(APIError):  # equal to one that somebody else builds on
            self.docker.api.remove_image(image, force=True)

    def close(self) -> None:
        self.released.set()
        self.attached = None
        self.end()


def _calls(container: Node) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((one.call, one.arguments) for one in container.chain())


class Kitchen:
    """Carries a pipeline out on the Docker engine: each call as the line of a Dockerfile that does the same."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session = session
        self.folder = folder
        self.count = 0

    def image(self, container: Node) -> str:
        lines: list[str] = []
        context = self._new_folder()
        for node in container.chain()[1:]:
            args = node.arguments
            match node.call:
                case "host" | "directory" | "withNewFile" | "container" | "withMountedCache" | "withoutMount":
                    continue
                case "dockerBuild":
                    lines.append(f"FROM {self._docker_build(node)}")
                case "from":
                    lines.append(f"FROM {args['address']}")
                case "withDirectory":
                    source = self._directory(self.session.nodes[args["source"]])
                    if any(source.iterdir()):
                        source.rename(context / source.name)
                        lines.append(f"COPY {source.name} {args['path']}")
                case _:
                    lines.append(self._line(node.call, args))
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        return self._build(context)

    def _line(self, call: str, args: dict[str, Any]) -> str:
        match call:
            case "withLabel":
                return f"LABEL {json.dumps(args['name'])}={json.dumps(args['value'])}"
            case "withUser":
                return f"USER {args['name']}"
            case "withWorkdir":
                return f"WORKDIR {args['path']}"
            case "withEnvVariable":
                return f"ENV {args['name']}={json.dumps(args['value'])}"
            case "withExec":
                return f"RUN {json.dumps(args['args'])}"
            case "withExposedPort":
                return f"EXPOSE {args['port']}"
            case "withoutEntrypoint":
                return "ENTRYPOINT []"
            case "withDefaultArgs":
                return f"CMD {json.dumps(args['args'])}"
        raise told(f"the kitchen has no recipe for {call}")

    def _docker_build(self, node: Node) -> str:
        context = self._directory(node.parent)
        args = node.arguments
        name = args.get("dockerfile", "Dockerfile")
        self.session.miss_ignore_files(context, name)
        if (own := context / f"{name}.dockerignore").exists():  # BuildKit's rule, which the classic builder lacks
            (context / ".dockerignore").write_text(own.read_text() + ".dockerignore\n")
        values = {one["name"]: one["value"] for one in args.get("buildArgs", [])}
        return self._build(context, dockerfile=name, buildargs=values, target=args.get("target") or None)

    def _build(self, context: Path, **options: Any) -> str:
        said = list(self.session.docker.api.build(path=str(context), rm=True, forcerm=True, decode=True, **options))
        for line in said:
            if "error" in line:
                stdout = "".join(str(one.get("stream", "")) for one in said)
                raise exec_error(f"failed to clone built container state: {line['error']}: ", 1, stdout)
        return str(next(line["aux"]["ID"] for line in reversed(said) if "ID" in line.get("aux", {})))

    def _directory(self, node: Node | None) -> Path:
        """A directory of the API as one on disk."""
        folder = self._new_folder()
        for one in node.chain() if node else ():
            args = one.arguments
            if one.call == "directory" and "path" in args:
                self._copy(Path(args["path"]), folder, args.get("exclude") or [], args.get("include") or [])
            if one.call == "withNewFile":
                (folder / args["path"]).write_text(args["contents"])
        return folder

    def _copy(self, source: Path, folder: Path, exclude: list[str], include: list[str]) -> None:
        wanted = {re.sub(r"\\(.)", r"\1", pattern) for pattern in include}
        found = (name for name in exclude_paths(str(source), exclude, dockerfile="-none-") if (source / name).is_file())
        chosen = {name for name in found if not include or name.split("/")[0] in wanted}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in sorted(chosen):
                archive.add(source / name, name)
        packed.seek(0)
        with tarfile.open(fileobj=packed) as archive:
            archive.extractall(folder, filter="data")

    def _new_folder(self) -> Path:
        self.count += 1
        folder = self.folder / f"d{self.count}"
        folder.mkdir(parents=True)
        return folder


def processes_with(mark: str) -> list[int]:
    """Processes, zombies aside, that have a text in their environment: all descendants of whom it was given to."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
    return found


def wait_until(condition: Any, timeout_s: float = 120.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
