"""Redaction: finds secret values and hides them in text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from moorage.model.definition import Config
from moorage.show.secret_names import VARIABLE, looks_secret, says_nothing

HIDDEN = "****"
_SHORTEST = 4
"""Shorter values are not real secrets, and hiding them would blank out half of every text."""
_SHORTEST_LINE = 8
"""In a secret of several lines, shorter lines reveal nothing by themselves (`}`, `test`)."""

_URL_PASSWORD = re.compile(r"(?<=://)([^\s/?#:@'\"]*):([^\s/?#'\"]+)@")
_URL_PASSWORD_WITH_SLASH = re.compile(r"(?<=://)([^\s/?#:@'\"]+):((?!\d+(?:[/,?#]|$))[^\s@'\"]{1,400})@")
_URL_TOKEN = re.compile(r"(?<=://)([^\s/?#:@'\"]{16,})@")
_ASSIGNED = re.compile(r"(?:^|(?<=[\s;&?'\"-]))([A-Za-z][\w.-]*)=(\"[^\"]+\"|'[^']+'|[^\s;&'\"]+)")
_FLAG = re.compile(r"--?([A-Za-z][\w-]*)")
_FLAG_AND_VALUE = re.compile(r"(?:^|\s)--?([A-Za-z][\w-]*)\s+([^\s;&'\"-][^\s;&'\"]*)")


def secret_values(config: Config, more: Iterable[str] = ()) -> frozenset[str]:
    """The secret values of a Compose project, in every form in which they may appear in text.

    These are values of keys that look secret (environment, build arguments, options), passwords in URLs and command
    lines, and the content of Compose secrets; but not values shorter than four characters or plain words: service and
    image names, `true`, `postgres`, small numbers. Files (`secrets: {x: {file: …}}`) and the environment are not read:
    pass their values as `more`, to which the same rules apply.
    """
    public = frozenset(name.casefold() for name in _names(config))
    found = {value for value in (*_candidates(config), *more) if _is_worth_hiding(value, public)}
    return frozenset(form for value in found for form in secret_forms(value) if _is_worth_hiding(form, public))


def secret_forms(value: str) -> frozenset[str]:
    """A secret value and its variants: its single lines, `$$` for `$`, quoted for URLs and JSON."""
    plain = {value, value.strip(), value.replace("$$", "$"), unquote(value)}
    lines = {line.strip() for text in plain for line in text.splitlines()}
    plain |= {line for line in lines if len(line) >= _SHORTEST_LINE}
    quoted = {form for text in plain for form in _quoted(text)}
    return frozenset(form for form in plain | quoted if _can_hide(form))


def _quoted(text: str) -> Iterator[str]:
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
    try:
        yield from (quote(text), quote(text, safe=""), quote_plus(text))
    except UnicodeEncodeError:  # half a surrogate pair cannot be part of a URL
        return


def redact(text: str, values: Iterable[str] = ()) -> str:
    """Replace each of the values, and passwords in URLs, with `****`. Values under 4 characters are not replaced."""
    pattern = _pattern(frozenset(values))
    if pattern is None:
        return _without_url_passwords(text)
    while (shorter := _without_url_passwords(pattern.sub(HIDDEN, text))) != text:
        text = shorter  # the text next to a **** may form another secret value
    return text


def redact_config(config: Config) -> Config:
    """A copy of a Compose project for display: without any value of secret-looking keys, and without secret values."""
    values = secret_values(config)
    shown: Config = _redacted(config, values)
    for secret in (shown.get("secrets") or {}).values():
        if isinstance(secret, dict) and "content" in secret:
            secret["content"] = HIDDEN
    return shown


def redact_data(thing: Any, values: Iterable[str]) -> Any:
    """Plain data (dicts, lists, strings) with the values hidden in all strings except keys."""
    values = frozenset(values)
    if isinstance(thing, str):
        return redact(thing, values)
    if isinstance(thing, Mapping):
        return {key: redact_data(value, values) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [redact_data(value, values) for value in thing]
    return thing


@lru_cache(maxsize=64)
def _pattern(values: frozenset[str]) -> re.Pattern[str] | None:
    """A pattern for the values, longest first: the rest of a longer value would be a clue. None: nothing to hide."""
    hidden = sorted((value for value in values if _can_hide(value)), key=lambda value: (-len(value), value))
    return re.compile("|".join(map(re.escape, hidden))) if hidden else None


def _can_hide(value: str) -> bool:
    return len(value) >= _SHORTEST and bool(value.strip("*")) and not value.isspace()


def _is_worth_hiding(value: str, public: frozenset[str]) -> bool:
    bare = value.strip()
    return len(bare) >= _SHORTEST and bare.casefold() not in public and not says_nothing(bare)


def _without_url_passwords(text: str) -> str:
    if "://" not in text:
        return text
    return _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)


def _names(config: Config) -> Iterator[str]:
    """Names in the project. They are public, so a value that equals one of them is not hidden."""
    yield str(config.get("name") or "")
    for kind in ("services", "volumes", "networks", "secrets", "configs"):
        yield from map(str, config.get(kind) or {})
    for service in (config.get("services") or {}).values():
        if isinstance(service, Mapping) and service.get("image"):
            yield PurePosixPath(str(service["image"]).split("@")[0]).name.split(":")[0]


def _candidates(config: Config) -> Iterator[str]:
    """All values that may be secret."""
    for secret in (config.get("secrets") or {}).values():
        if isinstance(secret, Mapping) and secret.get("content"):
            yield str(secret["content"])
    yield from _secrets_within(config)


def _secrets_within(thing: Any) -> Iterator[str]:
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            if _is_value(value) and looks_secret(str(key)):
                yield str(value)
            else:
                yield from _secrets_within(_pairs(str(key), value))
    elif isinstance(thing, list | tuple):
        for flag, value in pairwise(thing):
            if _is_secret_flag(flag) and isinstance(value, str):
                yield value
        for value in thing:
            yield from _secrets_within(value)
    elif isinstance(thing, str):
        yield from _in_text(thing)


def _pairs(key: str, value: Any) -> Any:
    """`environment` and `args` as a mapping, even if given as a list of `NAME=value`. Anything else unchanged."""
    if key not in ("environment", "args") or not isinstance(value, list):
        return value
    pairs = (str(entry).partition("=") for entry in value)
    return {name: text if equals else None for name, equals, text in pairs}


def _in_text(text: str) -> Iterator[str]:
    """Passwords in URLs; `NAME=value` and `--flag value` with a secret name."""
    for pattern in (_URL_PASSWORD, _URL_PASSWORD_WITH_SLASH):
        yield from (match[2] for match in pattern.finditer(text))
    yield from (match[1] for match in _URL_TOKEN.finditer(text))
    for pattern in (_ASSIGNED, _FLAG_AND_VALUE):
        found = (match[2].strip("\"'") for match in pattern.finditer(text) if looks_secret(match[1]))
        yield from (value for value in found if not VARIABLE.fullmatch(value))


def _is_value(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_secret_flag(flag: Any) -> bool:
    match = _FLAG.fullmatch(flag) if isinstance(flag, str) else None
    return match is not None and looks_secret(match[1])


def _redacted(thing: Any, values: frozenset[str]) -> Any:
    if isinstance(thing, Mapping):
        return {key: _redacted_value(str(key), value, values) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        before = [None, *thing]
        return [
            HIDDEN if _is_secret_flag(flag) and isinstance(value, str) else _redacted(value, values)
            for flag, value in zip(before, thing, strict=False)
        ]
    return redact(thing, values) if isinstance(thing, str) else thing


def _redacted_value(key: str, value: Any, values: frozenset[str]) -> Any:
    if _is_value(value) and value != "" and looks_secret(key):
        return HIDDEN
    if (pairs := _pairs(key, value)) is not value:
        shown = _redacted(pairs, values)
        return [name if text is None else f"{name}={text}" for name, text in shown.items()]
    return _redacted(value, values)
