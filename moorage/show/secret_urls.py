"""What is secret in URLs: passwords, tokens in place of a user, and web hooks, whose path is their password."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PASSWORD = re.compile(r"(?<=://)([^\s/?#:@'\"]*):([^\s/?#'\"]+)@")
_PASSWORD_WITH_SLASH = re.compile(r"(?<=://)([^\s/?#:@'\"]+):((?!\d+(?:[/,?#]|$))[^\s@'\"]{1,400})@")
_TOKEN = re.compile(r"(?<=://)([^\s/?#:@'\"]{16,})@")
_HOOK = re.compile(
    r"(?<=://)("
    r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/"
    r"|(?:\w+\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/"
    r"|[\w.-]+\.webhook\.office\.com/\w+/"
    r"|hooks\.zapier\.com/hooks/"
    r"|chat\.googleapis\.com/v1/spaces/"
    r"|api\.telegram\.org/bot"
    r")([^\s'\"<>*]+)",
    re.IGNORECASE,
)
"""Web hooks of services that many use. Others are known by the name of their variable (`DEPLOY_WEBHOOK_URL`)."""
_PATH = re.compile(r"(?<=://)[^\s/?#'\"]+/([^\s'\"<>]{8,})")


def passwords_in_urls(text: str) -> Iterator[str]:
    """Everything in the URLs of a text by which somebody could act as its owner."""
    for pattern in (_PASSWORD, _PASSWORD_WITH_SLASH, _HOOK):
        yield from (match[2] for match in pattern.finditer(text))
    yield from (match[1] for match in _TOKEN.finditer(text))


def path_of(url: str) -> str | None:
    """Path and query of a URL, which a log may show without the host. None: it is short, or this is no URL."""
    found = _PATH.search(url)
    return found[1] if found else None


def without_secret_urls(text: str, mark: str) -> str:
    """The text with `mark` in place of passwords in URLs, and of what follows the address of a web hook."""
    if "://" not in text:
        return text
    return _HOOK.sub(rf"\1{mark}", _PASSWORD.sub(rf"\1:{mark}@", text))
