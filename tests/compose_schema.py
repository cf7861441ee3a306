"""The keys of the Compose specification: found in the schema that every Compose carries in its program.

`python -m tests.compose_schema` writes `tests/compose_keys.json` anew, from the Compose of this environment. Do so when
`tests/contract/test_compose_schema.py` says that a new Compose knows other keys; then `moorage/rules/keys.py` has to
say of each new one whether it is done, ignored or refused (`tests/unit/test_keys.py` names them).
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("compose_keys.json")
_BEGIN = re.compile(rb'\{\s*"\$schema": ?"https?://json-schema\.org[^"]*",\s*"(?:\$id|id)": ?"compose_spec\.json"')
_LONGEST = 1 << 20
Keys = dict[str, dict[str, list[str]]]
"""Path of an object, with `*` for names and places in a list → key → what its value may be."""


def schema_in(program: Path) -> dict[str, Any]:
    """The schema that a Compose program was built with. Raises LookupError."""
    with program.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _BEGIN.search(content)
        if found is None:
            message = f"{program}: no schema of the Compose specification"
            raise LookupError(message)
        text = content[found.start() : found.start() + _LONGEST].decode(errors="replace")
    schema: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return schema


def keys_of(schema: Mapping[str, Any]) -> Keys:
    """The keys of each object that the schema describes."""
    found: Keys = {}
    for path, key, kinds in _walk(schema, schema, "", ()):
        known = found.setdefault(path, {}).setdefault(key, [])
        known.extend(kind for kind in kinds if kind not in known)
    return {path: {key: sorted(kinds) for key, kinds in sorted(keys.items())} for path, keys in sorted(found.items())}


def known() -> Keys:
    """The keys as they stand in the repository."""
    keys: Keys = json.loads(FILE.read_text())
    return keys


def _walk(
    root: Mapping[str, Any], node: Any, path: str, seen: tuple[str, ...]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for one in _forms(root, node):
        for key, value in (one.get("properties") or {}).items():
            yield path, key, tuple(_kinds(root, value))
            yield from _below(root, value, f"{path}.{key}".lstrip("."), seen)
        for value in (one.get("patternProperties") or {}).values():
            if value:
                yield from _below(root, value, f"{path}.*".lstrip("."), seen)
        if isinstance(one.get("items"), dict):
            yield from _below(root, one["items"], f"{path}.*".lstrip("."), seen)


def _below(
    root: Mapping[str, Any], value: Any, path: str, seen: tuple[str, ...]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    mark = json.dumps(value, sort_keys=True)
    if mark not in seen:  # an init container is described by what describes its service
        yield from _walk(root, value, path, (*seen, mark))


def _forms(root: Mapping[str, Any], node: Any) -> Iterator[dict[str, Any]]:
    """The node and all that it is put together from."""
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        target: Any = root
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        yield from _forms(root, target)
    for kind in ("oneOf", "anyOf", "allOf"):
        for one in node.get(kind) or ():
            yield from _forms(root, one)
    yield node


def _kinds(root: Mapping[str, Any], node: Any) -> Iterator[str]:
    for one in _forms(root, node):
        if "enum" in one:
            yield f"one of {', '.join(map(str, one['enum']))}"
            continue
        kinds = one.get("type") or ()
        yield from [kinds] if isinstance(kinds, str) else kinds


if __name__ == "__main__":
    from moorage.adapters.compose.program import find_program

    FILE.write_text(json.dumps(keys_of(schema_in(Path(find_program(None).program[-1]))), indent=1) + "\n")
