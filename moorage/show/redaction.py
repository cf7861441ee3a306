"""Redaction: finds secret values and hides them in text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from moorage.model.definition import Config
from moorage.show.formatting import clean
from moorage.show.hidden_spans import HiddenSpans
from moorage.show.secret_forms import SHORTEST, secret_forms
from moorage.show.secret_names import VARIABLE, looks_secret, says_nothing
from moorage.show.secret_urls import passwords_in_urls, path_of, without_secret_urls

HIDDEN = "****"
_TELLING_LINE = 16
"""Shorter lines of a config stand in other output too (`listen 80;`)."""

_SHORTEST_CONFIG = 12
"""A single line that is shorter may be any word."""
_ASSIGNED = re.compile(r"(?:^|(?<=[\s;&?'\"-]))([A-Za-z][\w.-]{0,99})=(\"[^\"]+\"|'[^']+'|[^\s;&'\"]+)")
_FLAG = re.compile(r"--?([A-Za-z][\w-]*)")
_FLAG_AND_VALUE = re.compile(r"(?:^|\s)--?([A-Za-z][\w-]*)\s+([^\s;&'\"-][^\s;&'\"]*)")
_SETTING = re.compile(
    r"^[ \t]*[\"']?([A-Za-z][\w.-]*)[\"']?(?:[ \t]*[:=][ \t]*(\S[^\n]*)|[ \t]+(\S+)[ \t]*)$", re.MULTILINE
)
"""A line of a config: `key: value`, `key = value`, `key value`."""
_MEMBER = re.compile(r"[\"']([A-Za-z][\w.-]*)[\"'][ \t]*:[ \t]*\"((?:[^\"\\\n]|\\.)+)\"")
"""A value in JSON."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def secret_values(config: Config, more: Iterable[str] = (), configs: Iterable[str] = ()) -> frozenset[str]:
    """The secret values of a Compose project, in every form in which they may appear in text.

    These are values of keys that look secret (environment, build arguments, options), passwords and web hooks in URLs
    and command lines, the content of Compose secrets, and of configs the longer lines and the values of keys that look
    secret; but not values shorter than four characters or plain words: service and image names, `true`, `postgres`,
    small numbers. Neither files nor the environment are read: pass secrets from there as `more`, configs as `configs`;
    the same rules apply to them.
    """
    public = frozenset(name.casefold() for name in _names(config))
    texts = [*configs, *_contents(config, "configs")]
    secrets = {*_candidates(config), *more, *(value for text in texts for value in _settings(text))}
    whole = {value for value in secrets if _is_worth_hiding(value, public)}
    forms = frozenset(
        form for value in whole for form in secret_forms(value, lambda one: _is_worth_hiding(one, public))
    )
    lines = {line for text in texts for line in _telling_lines(text) if _is_worth_hiding(line, public)}
    return forms | lines


def redact(text: str, values: Iterable[str] = ()) -> str:
    """Replace each of the values, and what is secret in URLs, with `****`. Values under 4 characters are not replaced.

    Where escape sequences stand in the midst of a value, the text loses them: a terminal would show the value whole.
    """
    shown = _without_values(text, frozenset(values))
    if _CONTROL.search(shown) and (without := _without_values(bare := clean(shown), frozenset(values))) != bare:
        return without
    return shown


def _without_values(text: str, values: frozenset[str]) -> str:
    spans = _spans(values)
    while (shorter := without_secret_urls(spans.hidden(text, HIDDEN), HIDDEN)) != text:
        text = shorter  # the text next to a **** may form another secret value
    return text


def redact_config(config: Config, more: Iterable[str] = ()) -> Config:
    """A copy of a Compose project for display: without any value of secret-looking keys, and without secret values.

    `more`: secret values from elsewhere.
    """
    values = secret_values(config, more)
    shown: Config = _redacted(config, values)
    for kind in ("secrets", "configs"):
        for thing in (shown.get(kind) or {}).values():
            if isinstance(thing, dict) and "content" in thing:
                thing["content"] = HIDDEN
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
def _spans(values: frozenset[str]) -> HiddenSpans:
    return HiddenSpans(values)


def _is_worth_hiding(value: str, public: frozenset[str]) -> bool:
    bare = value.strip()
    return len(bare) >= SHORTEST and bare.casefold() not in public and not says_nothing(bare)


def _names(config: Config) -> Iterator[str]:
    """Names in the project. They are public, so a value that equals one of them is not hidden."""
    parts = re.split("([-_])", str(config.get("name") or ""))  # `shop` of `shop-feature`, as its worktree is named
    yield from ("".join(parts[i:j]) for i in range(0, len(parts), 2) for j in range(i + 1, len(parts) + 1, 2))
    for kind in ("services", "volumes", "networks", "secrets", "configs"):
        yield from map(str, config.get(kind) or {})
    for service in (config.get("services") or {}).values():
        if isinstance(service, Mapping) and service.get("image"):
            yield PurePosixPath(str(service["image"]).split("@")[0]).name.split(":")[0]


def _candidates(config: Config) -> Iterator[str]:
    """All values that may be secret."""
    yield from _contents(config, "secrets")
    yield from _secrets_within({key: part for key, part in config.items() if key != "configs"})


def _contents(config: Config, kind: str) -> Iterator[str]:
    for thing in (config.get(kind) or {}).values():
        if isinstance(thing, Mapping) and thing.get("content"):
            yield str(thing["content"])


def _telling_lines(text: str) -> Iterator[str]:
    """What of a config is hidden wherever it appears: its longer lines, also where they stand in JSON."""
    for line in (one.strip() for one in text.splitlines()):
        if len(line) >= _TELLING_LINE and any(map(str.isalnum, line)):  # not a row of dashes
            yield line
            yield json.dumps(line)[1:-1]


def _settings(text: str) -> Iterator[str]:
    """The values of secret-looking keys in a config, as most formats write them; and a config of a single line."""
    yield from _in_text(text)
    for pattern in (_SETTING, _MEMBER):
        found = (match[match.lastindex or 0] for match in pattern.finditer(text) if looks_secret(match[1]))
        yield from (value for one in found for value in {one, one.strip(" \t\r,;\"'")})
    if "\n" not in (line := text.strip()) and len(line) >= _SHORTEST_CONFIG:
        yield line


def _secrets_within(thing: Any) -> Iterator[str]:
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            if _is_value(value) and looks_secret(str(key)):
                yield str(value)
                yield from (*_in_text(str(value)), *filter(None, [path_of(str(value))]))
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
    """What is secret in URLs; `NAME=value` and `--flag value` with a secret name."""
    yield from passwords_in_urls(text)
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
