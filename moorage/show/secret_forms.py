"""The forms in which a secret value appears in text: its lines, quoted for URLs and JSON, as base64 and hex."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote

SHORTEST = 4
"""Shorter values are not real secrets, and hiding them would blank out half of every text."""
_SHORTEST_LINE = 8
"""In a secret of several lines, shorter lines reveal nothing by themselves (`}`, `test`)."""
_SHORTEST_ENCODED = 6
"""Bytes. The code of fewer is so short that it appears in other text by chance."""
_MOST_CODED = 200
"""A secret of more lines is encoded as a whole, not line by line too: a bundle of keys has thousands."""
_BASE64_LINES = (76, 64)
"""Characters in a line of `base64` and MIME, and of PEM."""
_URL_SAFE = str.maketrans("+/", "-_")
_HEX_LINES = (60, 64)
"""Of `xxd -p`, and of digests side by side."""
_UNQUOTED = ("/", "", "*", "!'()*", "!'()*;,/?:@&=+$#")
"""What encoders leave as it is: Python's `quote`, most others, JavaScript's `encodeURIComponent` and `encodeURI`."""
_SAFE = re.compile(r"[A-Za-z0-9_.-]+")
"""No encoder changes these."""
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_IN_SCRIPTS = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})
"""Go, Rails and others escape these in JSON too, so that it can be put into a web page."""


class Encoded(str):
    """A form that stands in the midst of other code, which says what the first and last bits of the secret are."""

    __slots__ = ()


def secret_forms(value: str, wanted: Callable[[str], bool] = lambda _form: True) -> frozenset[str]:
    """A secret value and its variants: single lines, `$$` for `$`, quoted for URLs and JSON, base64 and hex.

    Of base64 each of the three ways in which a text can lie in a longer one that was encoded as a whole, such as
    `user:password`. These forms, and hex, are `Encoded`. Lines and variants that are not `wanted` are left out.
    """
    plain = {form for form in _plain(value) if can_hide(form) and wanted(form)}
    whole = plain if len(plain) <= _MOST_CODED else plain & {value, value.strip()}
    coded: frozenset[str] = frozenset(form for text in whole for form in _encoded(text))
    quoted = {form for text in plain for form in _quoted(text)}
    return coded | plain | quoted  # of two equal ones the first stays


def _plain(value: str) -> set[str]:
    plain = {value, value.strip(), value.replace("$$", "$"), unquote(value)}
    lines = {line.strip() for text in plain for line in text.splitlines()}
    return plain | {line for line in lines if len(line) >= _SHORTEST_LINE}


def can_hide(value: str) -> bool:
    """False for what is too short, blank or hidden already."""
    return len(value) >= SHORTEST and bool(value.strip("*")) and not value.isspace()


@lru_cache(maxsize=4096)  # generations of a stack have most secrets in common
def _quoted(text: str) -> tuple[str, ...]:
    if _SAFE.fullmatch(text):
        return ()
    return tuple(form for form in {*_for_json(text), *_for_urls(text)} if can_hide(form))


def _for_json(text: str) -> Iterator[str]:
    """Once, and once more: programs write JSON into the log that holds JSON as a string."""
    yield repr(text)[1:-1]
    for once in {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}:
        for form in {once, once.replace("/", "\\/"), once.translate(_IN_SCRIPTS)}:
            yield form
            yield json.dumps(form, ensure_ascii=False)[1:-1]


def _for_urls(text: str) -> Iterator[str]:
    try:
        forms = {call(text, safe=safe) for call in (quote, quote_plus) for safe in _UNQUOTED}
        forms |= {form.replace("~", "%7E") for form in forms}
    except UnicodeEncodeError:  # half a surrogate pair cannot be part of a URL
        return
    for form in forms:
        yield form
        yield _PERCENT.sub(lambda found: found[0].lower(), form)


@lru_cache(maxsize=4096)
def _encoded(text: str) -> tuple[Encoded, ...]:
    return tuple({*_codes(text)})


def _codes(text: str) -> Iterator[Encoded]:
    data = text.encode(errors="surrogatepass")
    if len(data.strip()) < _SHORTEST_ENCODED:
        return
    coded = {data.hex(), *_pieces(data.hex(), _HEX_LINES)}
    yield from (Encoded(form) for one in coded for form in (one, one.upper()))
    whole = b64encode(data).decode()
    for one in {whole, *(_inner_base64(data, before) for before in range(3)), *_pieces(whole, _BASE64_LINES)}:
        yield Encoded(one)
        yield Encoded(one.translate(_URL_SAFE))


def _inner_base64(data: bytes, before: int) -> str:
    """The characters that depend on nothing but the data, if `before` bytes (modulo 3) of other text precede it."""
    first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
    return b64encode(b"\0" * before + data).decode()[first:last]


def _pieces(code: str, widths: Iterable[int]) -> Iterator[str]:
    """Code as it is broken into lines; the last one may be too short to be recognised."""
    for width in widths:
        if len(code) > width:
            lines = (code[at : at + width] for at in range(0, len(code), width))
            yield from (line for line in lines if len(line) >= _SHORTEST_LINE)
