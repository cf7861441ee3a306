"""Dockerfiles: which images a build starts from. Read as both of Docker's builders read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_ESCAPE = re.compile(r"#\s*escape\s*=\s*([`\\])\s*$", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*\w+\s*=")
_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?([\"']?)([A-Za-z_]\w*)\1(?=\s|$)")
_TAKES_DOCUMENTS = ("RUN", "COPY", "ADD")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?([-+])([^}]*))?\}|(\w+))")
_ASSIGNED = re.compile(r"""(\w+)(?:=(?:"([^"]*)"|'([^']*)'|(\S*)))?""")
_OPTION = re.compile(r"--([\w-]+)=(\S+)")
_NOTHING = "scratch"


def bases(text: str, arguments: Mapping[str, str], contexts: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the images that a Dockerfile names in `FROM`, `COPY --from` and `RUN --mount=from=`, sorted.

    `arguments` are the build arguments, `contexts` the additional contexts by name: what those stand for is in their
    place, be it `service:NAME` or an image. Folders and addresses are left out, as are stages of the file itself, and
    names with a variable that only the builder knows, such as `TARGETARCH`.
    """
    known: dict[str, str] = {}
    stages: set[str] = set()
    found: set[str] = set()
    for word, rest in _instructions(text):
        if word == "ARG" and not stages:
            for name, default in _defaults(rest):
                known[name] = arguments.get(name, _filled(default, known) or "")
        elif word == "FROM":
            image, stage = _from(rest)
            found |= _meant(_filled(image.strip("\"'"), known), stages, contexts)
            number = str(sum(name.isdigit() for name in stages))
            stages |= {stage or number, number}
        elif word in ("COPY", "ADD", "RUN"):
            for image in _sources(rest):
                found |= _meant(image, stages, contexts)
    return tuple(sorted(found | {one for one in map(_image, contexts.values()) if one}))


def _defaults(rest: str) -> Iterator[tuple[str, str]]:
    """`A=1 B="2"` → (A, 1), (B, 2)."""
    for name, double, single, plain in _ASSIGNED.findall(rest):
        yield name, double or single or plain


def _from(rest: str) -> tuple[str, str]:
    """`--platform=x node:24 AS front` → (`node:24`, `front`)."""
    words = [word for word in rest.split() if not word.startswith("--")]
    named = len(words) > 2 and words[1].upper() == "AS"
    return (words[0] if words else ""), (words[2].lower() if named else "")


def _sources(rest: str) -> Iterator[str]:
    """Images of `--from=x` and `--mount=type=bind,from=x,…`, which stand before everything else."""
    for word in rest.split():
        option = _OPTION.fullmatch(word)
        if option is None:
            if not word.startswith("--"):
                return
        elif option[1] == "from":
            yield option[2]
        elif option[1] == "mount":
            yield from (part[5:] for part in option[2].split(",") if part.startswith("from="))


def _meant(image: str | None, stages: set[str], contexts: Mapping[str, str]) -> set[str]:
    """The image that a name means. Empty: a stage, a folder, nothing, or nobody knows yet."""
    if not image or "$" in image or image.lower() in stages or image.lower() == _NOTHING:
        return set()
    if image in contexts:
        meant = _image(contexts[image])
        return {meant} if meant else set()
    return {image}


def _image(context: str) -> str:
    """The image that an additional context stands for. Empty: it is a folder or an address."""
    return context if context.startswith("service:") else context.partition("docker-image://")[2]


def _filled(text: str, known: Mapping[str, str]) -> str | None:
    """The text with the arguments put in. None: one is not known."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        name, how, other = match[1] or match[4], match[2], match[3] or ""
        given = known.get(name)
        if how == "-":
            return given or other
        if how == "+":
            return other if given else ""
        missing = missing or given is None
        return given or ""

    filled = _VARIABLE.sub(value, text)
    return None if missing else filled


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """(`FROM`, the rest of it), with continued lines put together, without comments and here-documents."""
    lines = iter(text.removeprefix("\ufeff").splitlines())
    escape, head = "\\", True
    for line in map(str.strip, lines):
        if head and (chosen := _ESCAPE.match(line)):
            escape = chosen[1]
        head = head and bool(_DIRECTIVE.match(line))
        if not line or line.startswith("#"):
            continue
        word, *rest = _continued(line, lines, escape).split(None, 1)
        yield word.upper(), "".join(rest)
        if word.upper() in _TAKES_DOCUMENTS:
            for end in _HEREDOC.findall("".join(rest)):
                _skip(lines, end[1])


def _continued(first: str, lines: Iterator[str], escape: str) -> str:
    """A line with those that it is continued by."""
    parts = [first]
    while parts[-1].endswith(escape):
        parts[-1] = parts[-1].removesuffix(escape).rstrip()
        stripped = (line.strip() for line in lines)
        parts.append(next((line for line in stripped if line and not line.startswith("#")), ""))
    return " ".join(part for part in parts if part) or "-"


def _skip(lines: Iterator[str], end: str) -> None:
    """Read on to the end of a here-document."""
    next((line for line in lines if line.lstrip("\t") == end), None)
