"""A session of a Dagger engine as far as its schema goes: for the real SDK, without an engine.

Every request is validated against the engine's own schema, and each id against the type that the schema expects.
Answers come from the schema (an object is what it was asked for, a scalar its type's plainest value), but for what has
an effect: builds are carried out on the Docker engine, call by call as a Dockerfile; tunnels listen.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import tarfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import graphql
from docker.errors import APIError
from docker.utils.build import exclude_paths

SCHEMA = Path(__file__).parent / "dagger" / "schema.graphqls"
TOKEN = "token-of-the-session"
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
    listening: dict[str, list[ThreadingHTTPServer]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

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
        if name in self.fail:
            raise self.fail[name]
        if name == self.hang:
            self.released.wait(60)
            raise graphql.GraphQLError("too late")
        if name == "id":
            return self._known(node)
        if name == "node":
            return self.nodes[args["id"]]
        if name in ("sync", "start", "stop"):
            self._effect(name, node)
            return self._known(node)
        of = info.return_type
        while isinstance(of, graphql.GraphQLNonNull):
            of = of.of_type
        if isinstance(of, graphql.GraphQLObjectType):
            return Node(of.name, node, name, json.dumps(args, sort_keys=True))
        if isinstance(of, graphql.GraphQLList):
            return self.answers.get(name, [])
        return self._scalar(name, node, args, str(of))

    def _scalar(self, name: str, node: Node, args: dict[str, Any], of: str) -> Any:
        if name == "export":
            self._export(node, Path(args["path"]))
        if name == "endpoint":
            return f"localhost:{args['port']}"
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

    def _effect(self, name: str, node: Node) -> None:
        last = node.call
        self.events.append(f"{name} {self.name_of(node)}")
        if last == "tunnel" and name == "start":
            servers = [_listen(one["frontend"]) for one in node.arguments["ports"]]
            self.listening[node.id] = servers
        elif last == "tunnel":
            for server in self.listening.pop(node.id, []):
                server.shutdown()
                server.server_close()

    def name_of(self, node: Node) -> str:
        """`tunnel of db`, `db`: services by their host names."""
        if node.call == "tunnel":
            return f"tunnel of {self.name_of(self.nodes[node.arguments['service']])}"
        names = [one.arguments["hostname"] for one in node.chain() if one.call == "withHostname"]
        return names[-1] if names else node.type

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
        for servers in self.listening.values():
            for server in servers:
                server.shutdown()
                server.server_close()


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
        raise graphql.GraphQLError(f"the kitchen has no recipe for {call}")

    def _docker_build(self, node: Node) -> str:
        context = self._directory(node.parent)
        args = node.arguments
        name = args.get("dockerfile", "Dockerfile")
        if (own := context / f"{name}.dockerignore").exists():  # BuildKit's rule, which the classic builder lacks
            (context / ".dockerignore").write_text(own.read_text() + ".dockerignore\n")
        values = {one["name"]: one["value"] for one in args.get("buildArgs", [])}
        return self._build(context, dockerfile=name, buildargs=values, target=args.get("target") or None)

    def _build(self, context: Path, **options: Any) -> str:
        said = list(self.session.docker.api.build(path=str(context), rm=True, forcerm=True, decode=True, **options))
        for line in said:
            if "error" in line:
                extensions = {"_type": "EXEC_ERROR", "cmd": ["build"], "exitCode": 1, "stderr": "", "path": []}
                extensions["stdout"] = "".join(str(one.get("stream", "")) for one in said)
                raise graphql.GraphQLError(line["error"], extensions=extensions)
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


def _listen(port: int) -> ThreadingHTTPServer:
    """A service at the end of its tunnel: answers every GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class SessionServer(ThreadingHTTPServer):
    """The session over HTTP, as `dagger session` offers it."""

    daemon_threads = True

    def __init__(self, session: Session) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.session = session
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        return {"DAGGER_SESSION_PORT": str(self.server_address[1]), "DAGGER_SESSION_TOKEN": TOKEN}

    def close(self) -> None:
        self.session.close()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: SessionServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        expected = base64.b64encode(f"{TOKEN}:".encode()).decode()
        if self.path != "/query" or self.headers["Authorization"] != f"Basic {expected}":
            self.server.session.problems.append(f"{self.path} without the session's token")
            self._send(401, "{}")
            return
        try:
            self._send(200, self.server.session.answer(json.loads(body)))
        except Exception as error:  # noqa: BLE001 - a mistake of this server must not look like one of the engine
            self.server.session.problems.append(repr(error))
            self._send(500, "{}")

    def _send(self, status: int, text: str) -> None:
        with suppress(OSError):  # whoever asked has been ended
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    def log_message(self, *_args: Any) -> None:
        pass


FAKE_CLI = '''\
#!{python}
"""A Dagger CLI that behaves as FAKE_DAGGER says."""
import json, os, subprocess, sys, time
mode = os.environ.get("FAKE_DAGGER", "")
if sys.argv[1] == "version":
    if mode == "silent":
        time.sleep(60)
    print("dagger v0.20.3 (image) linux/amd64" if mode == "old" else "dagger v0.21.11 (image) linux/amd64")
    sys.exit(0)
with open(os.environ["FAKE_DAGGER_SEEN"], "w") as file:
    json.dump({{name: value for name, value in os.environ.items()}}, file)
if mode == "crash":
    sys.exit("panic: the engine exploded")
if mode == "garbage":
    print("Welcome to Dagger!", flush=True)
    sys.exit(0)
child = subprocess.Popen(["sleep", "600"])  # as the docker command that starts the engine's container
open(os.path.join(os.environ["TMPDIR"], "half-written"), "w").close()
if mode == "hang":
    time.sleep(600)
if mode == "noisy":
    for number in range(20000):
        print("engine line", number, "x" * 60, file=sys.stderr)
    sys.stderr.flush()
print(json.dumps({{"port": int(os.environ["FAKE_PORT"]), "session_token": os.environ["FAKE_TOKEN"]}}), flush=True)
if mode == "dies":
    time.sleep(float(os.environ.get("FAKE_DAGGER_LIFE", "1")))
    sys.exit("panic: out of disk")
sys.stdin.read()
if mode == "never-ends":
    time.sleep(600)
child.kill()
'''


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
