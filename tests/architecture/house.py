"""The house's rules as functions over source text: each gives its complaints, so that the rules can be tested too.

The rules are those of CONTRIBUTING.md; change both together.
"""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

LONGEST_FUNCTION = 60
STARTS = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output"}
HANDS_ON_NO_KEYS = ("moorage/adapters/", "moorage/cli/command_apart.py")

# Top-level packages: who may import whom.
PACKAGES = {
    "flows": {"tasks", "blocks", "moorage"},
    "tasks": {"blocks", "moorage"},
    "blocks": {"moorage"},
    "moorage": set(),
}

# Rooms of moorage: who may import whom. A room may always import itself and `errors`.
_DECIDES = {"model", "rules"}
_DOES = _DECIDES | {"bounded", "interfaces", "settings", "work"}
_WIRES = _DOES | {"adapters", "world"}
ROOMS = {
    "errors": set(),
    "systems": set(),
    "bounded": set(),
    "settings": set(),
    "interfaces": {"model", "settings"},
    "model": set(),
    "rules": {"model"},
    "show": {"bounded", "model"},
    "work": _DOES,
    "adapters": _DOES,
    "world": _DOES | {"adapters", "show"},  # it wires the redaction of secrets in
    "testing": _DECIDES | {"interfaces", "settings"},
    "running_stack": _DOES,
    "stack": _WIRES | {"running_stack"},
    "pytest_plugin": _WIRES | {"running_stack", "stack", "show"},
    "hub": _WIRES | {"__init__"},
    "cli": _WIRES | {"show", "hub", "systems", "__init__"},
    "__main__": {"cli"},
    "__init__": {"running_stack", "stack", "systems"},
}

# Rooms of `work` and of `adapters`: who may import whom, besides themselves.
SUBROOMS = {
    "work": {
        "threads": set(),
        "definitions": {"threads"},
        "volumes": {"threads"},
        "queries": {"definitions", "threads"},
        "runs": {"queries", "volumes", "definitions", "threads"},
        "operations": {"runs", "queries", "volumes", "definitions", "threads"},
        "ephemeral": {"operations", "runs", "queries", "definitions", "threads"},
    },
    "adapters": {
        "files": set(),
        "clock": set(),
        "framing": set(),
        "git": {"patience"},
        "probes": {"patience"},
        "build_context": {"context_files", "project_files"},
        "context_files": set(),
        "project_files": set(),
        "docker_context": set(),
        "machine": set(),
        "patience": set(),
        "engine": {"docker_context", "framing", "patience"},
        "compose": {"docker_context", "files", "framing", "locks", "patience", "project_files"},
        "dagger": {"context_files", "docker_context"},
        "locks": {"files"},
        "registry": {"files", "framing", "locks", "probes"},
    },
}

# Heavy or foreign libraries: the only places that may import them ("late": inside functions only).
ANYWHERE, LATE = "anywhere", "late"
FOREIGN = {
    "prefect": {
        **dict.fromkeys(("flows/", "tasks/", "blocks/", "moorage/hub/database.py"), ANYWHERE),
        "moorage/hub/": LATE,
    },
    "docker": {"moorage/adapters/engine/": ANYWHERE, "moorage/adapters/context_files.py": ANYWHERE},
    "re2": {"moorage/rules/patterns.py": LATE},
    "zstandard": {"moorage/work/volumes/archive.py": LATE},
    "dagger": {"moorage/adapters/dagger/": LATE},
    "cyclopts": {"moorage/cli/": ANYWHERE},
    "fcntl": {
        "moorage/adapters/locks/kernel.py": ANYWHERE,
        "moorage/adapters/dagger/own_network.py": ANYWHERE,
        "moorage/systems.py": LATE,
    },
    "psutil": {
        "moorage/adapters/compose/orphan_processes.py": LATE,
        "moorage/adapters/machine.py": LATE,
        "moorage/hub/process.py": LATE,
    },
}

# What decides does not look: neither modules, nor calls, nor the clock.
PURE = ("moorage/model/", "moorage/rules/")
IMPURE_MODULES = {
    *("asyncio", "fcntl", "glob", "http", "httpx", "io", "logging", "multiprocessing", "os", "platformdirs", "random"),
    *("requests", "secrets", "shutil", "signal", "socket", "sqlite3", "subprocess", "sys", "tempfile", "threading"),
    *("time", "urllib.request", "uuid"),
}
IMPURE_NAMES = {"open", "input", "print"}
IMPURE_METHODS = {
    *("now", "utcnow", "today", "exists", "is_file", "is_dir", "read_text", "read_bytes", "write_text", "write_bytes"),
    *("mkdir", "unlink", "rmdir", "iterdir", "glob", "rglob", "stat", "touch", "cwd", "home", "absolute", "expanduser"),
}

SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "create_subprocess_shell"}


@dataclass(frozen=True)
class Import:
    module: str
    line: int
    late: bool
    """Inside a function (paid only when it is called) or under `if TYPE_CHECKING` (never paid)."""


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root, as text, and what is in it."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def package(self) -> str:
        return self.path.split("/", 1)[0]

    @property
    def room(self) -> str:
        """`rules` of moorage/rules/graph.py, `errors` of moorage/errors.py."""
        return self.path.split("/")[1].removesuffix(".py")

    def imports(self) -> Iterator[Import]:
        yield from self._imports(self.tree, late=False)

    def _imports(self, node: ast.AST, *, late: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, late)
            elif isinstance(child, ast.ImportFrom):
                # `from moorage import errors` imports moorage.errors; names deeper than a module do no harm here.
                for alias in child.names:
                    yield Import(f"{'.' * child.level}{child.module or ''}.{alias.name}", child.lineno, late)
            else:
                yield from self._imports(child, late=late or _is_late(child))

    def says(self, line: int, complaint: str) -> str:
        return f"{self.path}:{line}: {complaint}"


def _is_late(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def sources(*folders: str) -> list[Source]:
    """The Python files below these folders that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    python = [name for name in listed if name.endswith(".py") and (ROOT / name).is_file()]
    return [Source(name, (ROOT / name).read_text()) for name in sorted(python)]


def wrong_package(source: Source) -> Iterator[str]:
    """`flows → tasks → blocks → moorage`, never back."""
    may = PACKAGES[source.package] | {source.package}
    for one in source.imports():
        top = one.module.split(".")[0]
        if top in PACKAGES and top not in may:
            yield source.says(one.line, f"{source.package} may not import {top}")
        if not top:
            yield source.says(one.line, "relative imports hide which room is entered")


def wrong_room(source: Source) -> Iterator[str]:
    """`cli → world → adapters → work → rules → model`, errors at the ground; `show` reads model only."""
    if source.package != "moorage":
        return
    may = ROOMS.get(source.room)
    if may is None:
        yield source.says(1, f"no room `{source.room}` in the house: see CONTRIBUTING.md")
        return
    for one in source.imports():
        top, *rest = one.module.split(".")
        room = rest[0] if rest else "__init__"
        if top == "moorage" and room not in may | {source.room, "errors", "__version__"}:
            yield source.says(one.line, f"{source.room} may not import {room} of moorage")


def wrong_subroom(source: Source) -> Iterator[str]:
    """Inside `work` and `adapters`: each folder uses only those named for it in `SUBROOMS`."""
    rooms = SUBROOMS.get(source.room) if source.package == "moorage" else None
    parts = source.path.split("/")[2:]
    if rooms is None or parts == ["__init__.py"]:
        return
    own = parts[0].removesuffix(".py")
    if own not in rooms:
        yield source.says(1, f"no room `{own}` in {source.room}: see CONTRIBUTING.md")
        return
    for one in source.imports():
        top, *rest = one.module.split(".")
        if top == "moorage" and rest[:1] == [source.room]:
            other = rest[1] if len(rest) > 1 else ""
            if other not in rooms[own] | {own}:
                yield source.says(one.line, f"{source.room}/{own} may not import {other or 'all of ' + source.room}")


def module_of(source: Source) -> str:
    """`moorage.rules.graph` of moorage/rules/graph.py, `moorage.testing` of moorage/testing/__init__.py."""
    return source.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def imports_of_ours(sources: list[Source], *, late: bool) -> dict[str, set[str]]:
    """Module → modules of ours that it imports. `late`: also inside functions (never those for types only)."""
    known = {module_of(source) for source in sources}
    graph: dict[str, set[str]] = {}
    for source in sources:
        found = {one.module for one in source.imports() if late or not one.late}
        ours = {name if name in known else name.rpartition(".")[0] for name in found}
        graph[module_of(source)] = (ours & known) - {module_of(source)}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other in a circle; empty: there is none."""
    found: list[list[str]] = []
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def foreign(source: Source) -> Iterator[str]:
    """Prefect, Docker, Dagger, the command line's library and others stay where they belong."""
    for one in source.imports():
        library = one.module.split(".")[0]
        places = FOREIGN.get(library)
        if places is None:
            continue
        allowed = next((when for place, when in places.items() if source.path.startswith(place)), None)
        if allowed is None:
            yield source.says(one.line, f"{library} may be imported only in {', '.join(places)}")
        elif allowed == LATE and not one.late:
            yield source.says(one.line, f"{library} may be imported only inside functions here")


def impure(source: Source) -> Iterator[str]:
    """What decides touches nothing and has no clock of its own."""
    if not source.path.startswith(PURE):
        return
    for one in source.imports():
        names = {one.module, one.module.rsplit(".", 1)[0], one.module.split(".")[0]}
        if names & IMPURE_MODULES:
            yield source.says(one.line, f"{one.module} looks at the world; pass in what it would see")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in IMPURE_NAMES:
                yield source.says(node.lineno, f"{node.func.id}() looks at the world")
            if isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_METHODS:
                yield source.says(node.lineno, f".{node.func.attr}() looks at the world")


def badly_named(source: Source) -> Iterator[str]:
    """No module named like a library (flows/ goes first on sys.path), no `utils`, no `manager`."""
    name = Path(source.path).stem
    if name in {"utils", "util", "helpers", "common", "misc", "manager", "managers"}:
        yield source.says(1, f"`{name}` says nothing: name it by what it does")
    elif not name.startswith("__") and name in _libraries():
        yield source.says(1, f"`{name}` is the name of a library")


@cache
def _libraries() -> frozenset[str]:
    return sys.stdlib_module_names | importlib.metadata.packages_distributions().keys()


def too_long(source: Source) -> Iterator[str]:
    """Functions that no longer fit a head. Files are split by subject, not by length."""
    if source.package == "tests":
        return  # a story may be long
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - _after_docstring(node) + 1
            if length > LONGEST_FUNCTION:
                yield source.says(node.lineno, f"{node.name}: {length} lines, at most {LONGEST_FUNCTION}")


def _after_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node) is None:
        return node.lineno
    return (node.body[0].end_lineno or node.lineno) + 1


def loses_cancels(source: Source) -> Iterator[str]:
    """In Python 3.11 `asyncio.wait_for` swallows a cancel that comes in the moment of the answer."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "asyncio.wait_for":
            yield source.says(node.lineno, "asyncio.wait_for may lose a cancel: use asyncio.timeout")


def hands_on_keys(source: Source) -> Iterator[str]:
    """Programs that we start get no key of the hub: every start says its environment, made by `for_programs`."""
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in STARTS
            and "env" not in {k.arg for k in node.keywords}
        ):
            yield source.says(node.lineno, f"{ast.unparse(node.func)}() without env: the program inherits all of ours")
    if source.path.startswith(HANDS_ON_NO_KEYS):
        fine = {
            id(part)
            for node in ast.walk(source.tree)
            for part in (
                node.args
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "for_programs"
                else [node.value]
                if isinstance(node, ast.Subscript) or (isinstance(node, ast.Attribute) and node.attr == "get")
                else ()
            )
        }
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ" and id(node) not in fine:
                yield source.says(node.lineno, "os.environ as a whole: use for_programs(os.environ)")


def uses_a_shell(source: Source) -> Iterator[str]:
    """Argument lists only."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if any(called == shell or called.endswith(f".{shell.split('.')[-1]}") for shell in SHELLS):
            yield source.says(node.lineno, f"{called} runs a shell")
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                yield source.says(node.lineno, f"{called}(shell=…) runs a shell")


def looks_at_each(source: Source) -> Iterator[str]:
    """The SDK's lists that look at each thing again: what others remove meanwhile makes them fail."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        ignores = any(one.arg == "ignore_removed" for one in node.keywords)
        if called.endswith("images.list") or (called.endswith("containers.list") and not ignores):
            yield source.says(
                node.lineno, f"{called} fails when another test removes one: ask client.api, or ignore_removed"
            )


_READS = {"read_text", "read_bytes", "readlines", "getall"}
_READS_WHOLE = {"read", "readline", "communicate"}
"""These without a size read whatever there is."""
_PATTERNS = {
    f"re.{name}" for name in ("compile", "search", "match", "fullmatch", "findall", "finditer", "sub", "split")
}
_BOUNDED = {
    "moorage/bounded.py": "the one reader",
    "moorage/rules/values.py": "its patterns are its own, only handed on",
    "moorage/work/volumes/archive.py": "packs, and reads through `_Header`",
    "moorage/adapters/registry/": "`read` is a transaction of its own database",
    "moorage/hub/log_files.py": "its own files, which begin anew at a size",
}


def reads_without_end(source: Source) -> Iterator[str]:
    """Files, answers and patterns of others are read through `moorage.bounded` and `rules.patterns`, with a limit."""
    if source.path.startswith(("moorage/testing/", "moorage/templates/", *_BOUNDED)):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node).endswith("response.content"):
            yield source.says(node.lineno, "an answer as a whole: read it piece by piece")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        given = {keyword.arg for keyword in node.keywords}
        modes = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if (name in _READS and "resources.files" not in called) or (
            name in _READS_WHOLE and "." in called and not node.args and not given
        ):
            yield source.says(node.lineno, f"{called}() has no limit: use moorage.bounded")
        if called in {"json.load", "tarfile.open"} and "w" not in [*modes, *_text_values(node)]:
            yield source.says(node.lineno, f"{called}() has no limit")
        if called == "subprocess.run" or called.endswith(".check_output") or "capture_output" in given:
            yield source.says(node.lineno, f"{called}() takes all that a program prints: use bounded.run")
        if called in _PATTERNS and node.args and not _is_our_own(node.args[0]):
            yield source.says(node.lineno, f"{called}() of a text that may be anybody's: use rules.patterns")
        if name == "open" and not called.startswith(("os.", "bounded.")) and called != "tarfile.open":
            reads = not modes or modes[-1].startswith("r")
            if (called == "open" or "path" in called.lower() or "file" in called.lower()) and reads and not given:
                yield source.says(node.lineno, f"{called}() waits for pipes and opens devices: use bounded.open_file")


def _text_values(node: ast.Call) -> list[str]:
    return [str(one.value.value) for one in node.keywords if isinstance(one.value, ast.Constant)]


def _is_our_own(pattern: ast.expr) -> bool:
    """A literal, one made of literals, or a constant of the module."""
    if isinstance(pattern, ast.Constant | ast.JoinedStr):
        return True
    if isinstance(pattern, ast.BinOp):
        return _is_our_own(pattern.left) and _is_our_own(pattern.right)
    name = ast.unparse(pattern).split(".")[-1].split("(")[0].strip("_")
    return name.isupper()


_ON_LOOPS = ("moorage/work/", "flows/", "tasks/")
_ADAPTERS = {"store", "files", "compose", "engine", "contexts", "volumes", "streams", "prober"}
_ON_DISK = {
    *("exists", "is_file", "is_dir", "iterdir", "stat", "read_text", "read_bytes", "write_text", "write_bytes"),
    *("mkdir", "unlink", "touch", "held"),
}


def blocks_the_loop(source: Source) -> Iterator[str]:
    """Calls of adapters, and of the disk, that an async function makes itself: they belong into `in_thread`."""
    for function in ast.walk(source.tree):
        if isinstance(function, ast.AsyncFunctionDef) and source.path.startswith(_ON_LOOPS):
            for call in _own_calls(function):
                if isinstance(call.func, ast.Attribute) and _blocks(call.func):
                    yield source.says(call.lineno, f"{ast.unparse(call.func)}() on the event loop")


def _blocks(called: ast.Attribute) -> bool:
    of = called.value
    return called.attr in _ON_DISK or (isinstance(of, ast.Attribute) and of.attr in _ADAPTERS)


def _own_calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls of a function, without those that functions in it make."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _own_calls(child)
