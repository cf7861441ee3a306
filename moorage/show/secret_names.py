"""Decides which names stand for secrets, and which values are never secret, whatever their name."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_ANYWHERE = _words("""
    password passwords passwd passphrase pwd pw pass secret secrets token tokens credential credentials creds dsn
    jwt requirepass masterauth htpasswd
    """)
_ENDINGS = ("password", "passwd", "secret", "apikey", "privatekey", "accesskey", "token")
"""Endings of compound words: PGPASSWORD, ROOTPASSWORD, CLIENTSECRET."""
_LAST = _words("key keys auth authorization salt pepper cookie pat")
"""Secret as the last word: STRIPE_KEY, REDIS_AUTH; not KEY_PREFIX, AUTH_METHOD."""
_KINDS_OF_KEY = _words("api private access signing encryption")
"""Secret wherever the word key appears: ACCESS_KEY_ID."""
_OPEN = _words("""
    public publishable primary foreign sort partition cache routing hot site host known translation shard group
    idempotency object index registry
    """)
"""Kinds of keys that are not secret: PUBLIC_KEY, STRIPE_PUBLISHABLE_KEY, CACHE_KEY."""
_ABOUT = _words("""
    file files path paths dir directory url uri host hostname port method methods type mode enabled disabled required
    ttl expiry expires expire expiration in lifetime timeout length min max size limit rounds cost policy name names
    header prefix suffix algorithm alg issuer audience endpoint server provider plugin rotation interval age count
    format version encryption hashing attempts reset region location bucket realm strength
    ms s second seconds minute minutes hour hours day days
    """)
"""Last words of names for facts about a secret, not a secret itself: DB_PASSWORD_FILE, TOKEN_TTL, AUTH_URL."""
_AMOUNTS = _words("max min num total")
"""MAX_TOKENS is a number."""

PLAIN = _words("""
    true false yes no on off none null nil undefined enabled disabled enable disable auto default required optional
    always never trust peer ident local localhost test tests testing dev devel develop development prod production
    staging debug info warn warning error root admin user users guest username password passwords passwd secret secrets
    token tokens public private postgres postgresql mysql mariadb redis mongo mongodb rabbitmq sqlite docker compose
    service services server client host http https basic bearer digest plain scram-sha-256 scram-sha-1 sha256 sha512
    hs256 rs256 md5 example name value string data file port start stop ready build image main master latest changed
    connection json text utc exit exited
    """)
"""Words that are common in all output. As passwords they protect nothing, and hiding them would garble every log."""

_AMOUNT = re.compile(r"\d{1,5}|\d+(\.\d+)?(ms|s|m|h|d|k|kb|mb|gb)|[\d.,:/-]{1,5}", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?://)?(?:localhost|(?:\d{1,3}\.){3}\d{1,3}|\[?::1?\]?)(?::\d{1,5})?/?", re.IGNORECASE)
_PATH = re.compile(r"(/[a-z0-9_.-]{1,40}){2,}")
_HOOKS = _words("webhook webhooks hook hooks")
"""With `url`: whoever knows the address of a web hook may call it."""
VARIABLE = re.compile(r"\$+\{?[A-Z_][A-Z0-9_]*\}?")
"""A reference to a variable, which is not a value yet."""


def looks_secret(name: str) -> bool:
    """True if a variable, argument or option of this name holds a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if words[-1:] in (["url"], ["uri"]) and _HOOKS & set(words):
        return True
    if not words or words[-1] in _ABOUT or words[0] in _AMOUNTS:
        return False
    if any(word in _ANYWHERE or word.endswith(_ENDINGS) for word in words):
        return True
    if _OPEN & set(words):
        return False
    return words[-1] in _LAST or ("key" in words and bool(_KINDS_OF_KEY & set(words)))


def says_nothing(value: str) -> bool:
    """True for a plain word, a small number, a duration or a path: not a secret, even where one is expected."""
    return value.casefold() in PLAIN or any(one.fullmatch(value) for one in (_AMOUNT, _ADDRESS, _PATH))
