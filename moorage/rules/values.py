"""Values that no engine takes and Compose passes on as they are: refused by name, before anything is started.

Some of them an old engine takes for its default, without a word (`uts: foo`): a newer one says what they are.
Only what is simple and known is here. What depends on the machine (a runtime, a logging driver, a device) the engine
says itself when a container is created.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, ip_address, ip_interface
from typing import Any, NamedTuple

from moorage.errors import DefinitionError
from moorage.model.definition import Config
from moorage.rules import keys
from moorage.rules.durations import seconds


class _Rule(NamedTuple):
    fits: Callable[[Any], bool]
    """May raise what says that the value is of another kind."""
    words: str
    """What the value has to be."""


def _text(pattern: str, words: str) -> _Rule:
    known = re.compile(pattern, re.ASCII)
    return _Rule(lambda value: known.fullmatch(str(value)) is not None, words)


def _number(first: float, last: float, words: str, also: frozenset[float] = frozenset()) -> _Rule:
    return _Rule(lambda value: first <= float(value) <= last or float(value) in also, words)


def _without_error(read: Callable[[str], Any], words: str) -> _Rule:
    def fits(value: Any) -> bool:
        read(str(value))
        return True

    return _Rule(fits, words)


def _each(rule: _Rule) -> _Rule:
    return _Rule(lambda values: all(map(rule.fits, values)), rule.words)


def _is_pause(text: str) -> None:
    """The engine takes 0, which is its default, and nothing else below a millisecond."""
    if 0 < seconds(text, "") < 0.001:
        raise ValueError(text)


def _is_host(entry: str) -> None:
    """`name=address`, as Compose prints each entry of `extra_hosts`."""
    address = entry.partition("=")[2]
    if address != "host-gateway":
        ip_address(address.removeprefix("[").removesuffix("]"))


def _is_network(text: str) -> None:
    if "/" not in text:
        raise ValueError(text)
    ip_interface(text)


def _is_limit(value: Any) -> bool:
    """A limit of the kernel: a number, or a soft and a hard one of which the soft one is not the higher."""
    if not isinstance(value, dict):
        return int(value) >= -1
    soft, hard = int(value.get("soft", 0)), int(value.get("hard", 0))
    return soft >= -1 and hard >= -1 and (hard == -1 or -1 < soft <= hard)


_SIGNALS = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP "
    r"TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN(?:\+\d+)? RTMAX(?:-\d+)?"
).replace(" ", "|")
_LIMITS = frozenset(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_MOST = float(2**63 - 1)
_LEAST_MEMORY = 6 << 20
_ZERO = frozenset({0.0})
_ADDRESS = _without_error(ip_address, "an IP address")
_IPV4 = _without_error(IPv4Address, "an IPv4 address")
_NETWORK = _without_error(_is_network, "a network such as 10.9.0.0/24")
_MAC = _text(r"(?:[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(?:\1[0-9a-fA-F]{2}){4})", "an address such as 02:42:ac:11:00:07")
_PAUSE = _without_error(_is_pause, "a duration of 1 ms or more, such as 500ms or 1m30s")
_NOT_NEGATIVE = _number(0, _MOST, "0 or more")
_MEMORY = _number(_LEAST_MEMORY, _MOST, "6 MB or more, as the engine wants", _ZERO)
_RESERVED = _Rule(lambda value: not 0 < float(value) < _LEAST_MEMORY, "6 MB or more, as the engine wants")
_PATH = _text(r"/(?s:.*)", "a path that begins with /")
_WEIGHT = _number(10, 1000, "between 10 and 1000", _ZERO)
_OF_CONTAINER: Mapping[str, _Rule] = {
    "blkio_config.weight": _WEIGHT,
    "blkio_config.weight_device.*.weight": _WEIGHT,
    **{
        f"blkio_config.device_{way}.*.rate": _NOT_NEGATIVE
        for way in ("read_bps", "read_iops", "write_bps", "write_iops")
    },
    "cpu_period": _number(1000, 1_000_000, "between 1000 and 1000000", _ZERO),
    "cpu_quota": _Rule(lambda value: not 0 < float(value) < 1000, "1000 or more"),
    "cpu_shares": _NOT_NEGATIVE,
    "cpus": _NOT_NEGATIVE,
    "dns": _each(_ADDRESS),
    "extra_hosts": _each(_without_error(_is_host, "name=address")),
    "ipc": _text(
        r"none|private|shareable|host|(?:service|container):.+", "none, private, shareable, host or service:…"
    ),
    "isolation": _text(r"(?i:default)", "default; the others are of Windows"),
    "mac_address": _MAC,
    "mem_limit": _MEMORY,
    "mem_reservation": _RESERVED,
    "mem_swappiness": _number(-1, 100, "between 0 and 100"),
    "networks.*.ipv4_address": _IPV4,
    "networks.*.ipv6_address": _ADDRESS,
    "networks.*.link_local_ips": _each(_ADDRESS),
    "networks.*.mac_address": _MAC,
    "oom_score_adj": _number(-1000, 1000, "between -1000 and 1000"),
    "pid": _text(r"host|(?:service|container):.+", "host or service:…"),
    "shm_size": _NOT_NEGATIVE,
    "stop_signal": _text(rf"(?i:(?:SIG)?(?:{_SIGNALS}))|[1-9]|[1-5]\d|6[0-4]", "a signal"),
    "ulimits.*": _Rule(_is_limit, "a number, or soft and hard with the soft one not above the hard one"),
    "tmpfs": _each(_PATH),
    "ulimits": _Rule(_LIMITS.issuperset, f"limits of these names: {', '.join(sorted(_LIMITS))}"),
    "uts": _text("host", "host"),
    "volumes.*.bind.propagation": _text("r?(?:private|shared|slave)", "private, shared, slave, or these after an r"),
    "volumes.*.target": _PATH,
    "volumes.*.type": _text("bind|image|tmpfs|volume", "bind, image, tmpfs or volume"),
    "working_dir": _PATH,
}
_OF_SERVICE: Mapping[str, _Rule] = {
    **_OF_CONTAINER,
    **{f"pre_start.*.{key}": rule for key, rule in _OF_CONTAINER.items()},
    "deploy.resources.limits.cpus": _NOT_NEGATIVE,
    "deploy.resources.limits.memory": _MEMORY,
    "deploy.resources.reservations.memory": _RESERVED,
    "deploy.restart_policy.condition": _text("none|no|on-failure|unless-stopped|any|always", "none, on-failure or any"),
    "healthcheck": _Rule(
        lambda check: not check.get("start_interval") or bool(check.get("start_period")),
        "start_period with start_interval",
    ),
    **{f"healthcheck.{key}": _PAUSE for key in ("interval", "start_interval", "start_period", "timeout")},
    "restart": _text(
        r"no|always|unless-stopped|on-failure(?::\d{1,9})?", "no, always, unless-stopped, on-failure or on-failure:3"
    ),
}
RULES: Mapping[str, _Rule] = {
    **{f"services.*.{key}": rule for key, rule in _OF_SERVICE.items()},
    "networks.*.ipam.config.*.aux_addresses": _Rule(lambda known: _each(_ADDRESS).fits(known.values()), "IP addresses"),
    "networks.*.ipam.config.*.gateway": _ADDRESS,
    "networks.*.ipam.config.*.ip_range": _NETWORK,
    "networks.*.ipam.config.*.subnet": _NETWORK,
}
"""Path of a key, with `*` for a name or a place in a list → what its value has to be."""


def refuse_impossible(config: Config) -> None:
    """Raise DefinitionError for the first value that no engine would take. Keys with nothing in them say nothing."""
    for path, pattern, value in keys.each_key(config):
        rule = RULES.get(pattern)
        if rule is None or value in (None, "", [], {}) or _fits(rule, value):
            continue
        place = keys.place_of(path)
        shown = f"{str(value)[:77]}..." if len(str(value)) > 80 else str(value)
        message = f"{place}: {shown!r} is not possible: expected {rule.words}"
        service = str(path[1]) if path[0] == "services" else None
        raise DefinitionError(message, key=place, service=service)


def _fits(rule: _Rule, value: Any) -> bool:
    try:
        return rule.fits(value)
    except (AttributeError, DefinitionError, OverflowError, TypeError, ValueError):
        return False
