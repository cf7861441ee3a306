"""What the hub's door gives out: one-time tokens for links, and signed cookies for the browsers that used one."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

ENTER = "/moorage/enter"
"""The page behind a link: `?token=`."""
TOKENS = "/moorage/tokens"
"""Below the API's address: POST gives a token, to those who have the secret."""
LINK_S = 600.0
"""How long a link may be used."""
COOKIE_S = 7 * 86_400
"""How long a browser stays in."""
_MOST_LINKS = 100
"""Links that wait to be used; the oldest goes first."""


class Passes:
    """Tokens and cookies of one hub. `key` signs the cookies: with a new key all earlier ones are worth nothing.

    Tokens are kept in memory only, and only as hashes. `hub` tells this hub from others, as its folder does. `clock`
    gives seconds since 1970.
    """

    def __init__(self, key: bytes, hub: str = "", clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock
        self._links: dict[str, float] = {}
        # Browsers send a cookie to every port of a host: hubs side by side each have a name of their own.
        self.cookie_name = f"moorage-{_digest(hub)[:8]}"

    def token(self) -> str:
        """A token that opens the door once, within `LINK_S`."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        waiting = [(one, until) for one, until in self._links.items() if until > now]
        self._links = {**dict(waiting[1 - _MOST_LINKS :]), _digest(token): now + LINK_S}
        return token

    def redeem(self, token: str) -> bool:
        """True: the token is one of ours, and was neither used nor too old. It is used now."""
        until = self._links.pop(_digest(token), None)
        return until is not None and self._clock() < until

    def cookie(self) -> str:
        """The value of a new cookie: when it expires, something random, and our signature on both."""
        content = f"{int(self._clock()) + COOKIE_S}.{secrets.token_urlsafe(12)}"
        return f"{content}.{self._signed(f'cookie {content}')}"

    def lets_in(self, cookie: str) -> bool:
        """True: we made this cookie, and it has not expired."""
        content, _, signature = cookie.rpartition(".")
        if not same(signature, self._signed(f"cookie {content}")):
            return False
        return self._clock() < int(content.partition(".")[0])

    def _signed(self, content: str) -> str:
        return hmac.digest(self._key, content.encode(errors="surrogatepass"), hashlib.sha256).hex()


def same(one: str, other: str) -> bool:
    """Compare two secrets in a time that tells nothing about them."""
    return hmac.compare_digest(*(secret.encode(errors="surrogatepass") for secret in (one, other)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
