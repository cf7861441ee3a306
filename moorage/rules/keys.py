"""The keys of a Compose project that are known here: done, without effect, or refused.

It is a list of what is known, not of what is refused: a key that a newer Compose understands is refused by name until
somebody has looked at it, and never dropped in silence. `tests/unit/test_keys.py` compares the list with Compose's own
schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from moorage.errors import UnsupportedKeyError
from moorage.model.definition import Config

_DEVICE_LIMIT = "path rate"
_FILE = "gid mode source target uid"
_GPU = "capabilities count device_ids driver options"
_HOOK = "command environment privileged user working_dir"
_ROLLING = "delay failure_action max_failure_ratio monitor order parallelism"
_CONTAINER = (
    "annotations blkio_config cap_add cap_drop cgroup cgroup_parent command configs cpu_count cpu_percent cpu_period "
    "cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec device_cgroup_rules devices dns "
    "dns_opt dns_search domainname entrypoint env_file environment extra_hosts gpus group_add hostname image init ipc "
    "isolation label_file labels logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit models "
    "network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform privileged pull_policy "
    "pull_refresh_after read_only runtime secrets security_opt shm_size stop_grace_period stop_signal storage_opt "
    "sysctls tmpfs ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir"
)
_OF_CONTAINER = {
    "": _CONTAINER,
    ".blkio_config": "device_read_bps device_read_iops device_write_bps device_write_iops weight weight_device",
    **{f".blkio_config.device_{way}.*": _DEVICE_LIMIT for way in ("read_bps", "read_iops", "write_bps", "write_iops")},
    ".blkio_config.weight_device.*": "path weight",
    ".configs.*": _FILE,
    ".credential_spec": "config file registry",
    ".devices.*": "permissions source target",
    ".env_file.*": "format path required",
    ".gpus.*": _GPU,
    ".logging": "driver options",
    ".models.*": "endpoint_var model_var",
    ".networks.*": "aliases driver_opts gw_priority interface_name ipv4_address ipv6_address link_local_ips "
    "mac_address priority",
    ".secrets.*": _FILE,
    ".ulimits.*": "hard soft",
    ".volumes.*": "bind consistency image read_only source target tmpfs type volume",
    ".volumes.*.bind": "create_host_path propagation recursive selinux",
    ".volumes.*.image": "subpath",
    ".volumes.*.tmpfs": "mode size",
    ".volumes.*.volume": "labels nocopy subpath",
}
_OF_SERVICE = {
    **_OF_CONTAINER,
    "": f"{_CONTAINER} attach build container_name depends_on deploy develop expose extends external_links healthcheck "
    "links ports post_start pre_start pre_stop profiles provider restart scale stdin_open tty",
    ".build": "additional_contexts args cache_from cache_to context dockerfile dockerfile_inline entitlements "
    "extra_hosts isolation labels network no_cache no_cache_filter platforms privileged provenance pull sbom secrets "
    "shm_size ssh tags target ulimits",
    ".build.secrets.*": _FILE,
    ".build.ulimits.*": "hard soft",
    ".depends_on.*": "condition required restart",
    ".deploy": "endpoint_mode labels mode placement replicas resources restart_policy rollback_config update_config",
    ".deploy.placement": "constraints max_replicas_per_node preferences",
    ".deploy.placement.preferences.*": "spread",
    ".deploy.resources": "limits reservations",
    ".deploy.resources.limits": "cpus memory pids",
    ".deploy.resources.reservations": "cpus devices generic_resources memory",
    ".deploy.resources.reservations.devices.*": _GPU,
    ".deploy.resources.reservations.generic_resources.*": "discrete_resource_spec",
    ".deploy.resources.reservations.generic_resources.*.discrete_resource_spec": "kind value",
    ".deploy.restart_policy": "condition delay max_attempts window",
    ".deploy.rollback_config": _ROLLING,
    ".deploy.update_config": _ROLLING,
    ".develop": "watch",
    ".develop.watch.*": "action exec ignore include initial_sync path target",
    ".develop.watch.*.exec": _HOOK,
    ".extends": "file service",
    ".healthcheck": "disable interval retries start_interval start_period test timeout",
    ".ports.*": "app_protocol host_ip mode name protocol published target",
    ".post_start.*": _HOOK,
    ".pre_stop.*": _HOOK,
    ".provider": "options type",
    **{f".pre_start.*{path}": keys for path, keys in _OF_CONTAINER.items()},
    ".pre_start.*": f"{_CONTAINER} per_replica",
}
_THING = "driver driver_opts external labels name"
OBJECTS: Mapping[str, frozenset[str]] = {
    path: frozenset(keys.split())
    for path, keys in {
        "": "configs include jobs models name networks secrets services version volumes",
        "configs.*": "content environment external file labels name template_driver",
        "include.*": "env_file path project_directory",
        "models.*": "context_size model name runtime_flags",
        "networks.*": f"{_THING} attachable enable_ipv4 enable_ipv6 internal ipam",
        "networks.*.ipam": "config driver options",
        "networks.*.ipam.config.*": "aux_addresses gateway ip_range subnet",
        "secrets.*": f"{_THING} environment file template_driver",
        "volumes.*": _THING,
        **{f"{kind}.*.external": "name" for kind in ("configs", "networks", "secrets", "volumes")},
        **{f"services.*{path}": keys for path, keys in _OF_SERVICE.items()},
    }.items()
}
"""Path of an object, with `*` for a name or a place in a list → its known keys."""

_Path = tuple[str | int, ...]
_LOCAL_FILE = "a file of this machine is mounted as it is, with its own owner and mode"
_SWARM = "only Swarm does something about it"
IGNORED: Mapping[str, str] = {
    "jobs.*": "a start runs no jobs, as with Compose; `docker compose run` does",
    "services.*.develop": "only `docker compose watch` reads it; a bind mount shows changes at once",
    "services.*.credential_spec": "only Windows containers have one",
    "services.*.pull_refresh_after": "nothing is done about it, as with Compose",
    "services.*.deploy.endpoint_mode": _SWARM,
    "services.*.deploy.labels": f"{_SWARM}; containers get `services.*.labels`",
    "services.*.deploy.mode": f"{_SWARM}; here as many containers start as `replicas` says",
    "services.*.deploy.placement": _SWARM,
    "services.*.deploy.resources.reservations.cpus": _SWARM,
    "services.*.deploy.resources.reservations.generic_resources": _SWARM,
    "services.*.deploy.restart_policy.delay": _SWARM,
    "services.*.deploy.restart_policy.window": _SWARM,
    "services.*.deploy.rollback_config": _SWARM,
    "services.*.deploy.update_config": _SWARM,
    "services.*.ports.*.mode": _SWARM,
    **{f"secrets.*.{key}": _SWARM for key in ("driver", "driver_opts", "labels", "template_driver")},
    **{f"configs.*.{key}": _SWARM for key in ("labels", "template_driver")},
    **{f"services.*.{kind}.*.{key}": _LOCAL_FILE for kind in ("configs", "secrets") for key in ("gid", "mode", "uid")},
}
"""Keys that nothing is done about, as with Compose, and why: told in the plan."""
_USUAL = {"services.*.deploy.mode": "replicated", "services.*.ports.*.mode": "ingress"}
"""Values that say what happens anyway."""
REFUSED: Mapping[str, tuple[str, str]] = {
    "services.*.provider": (
        "a provider is a program of this machine, which no undo could take back",
        "Move this service to a file of its own, and start that with `docker compose up` before the stack.",
    ),
    "services.*.models": (
        "Docker Model Runner has models for the whole machine, which no undo could take back",
        "Start the model with `docker model run`, and give its address to the service in `environment`.",
    ),
    "services.*.pre_start.*.per_replica": (
        "Compose cannot run an init container for each replica yet",
        "Remove it: the init containers then run once for all replicas.",
    ),
}
"""Keys that Compose supports and Moorage does not: why, and what to do instead."""


def refuse_unsupported(config: Config) -> None:
    """Raise UnsupportedKeyError for the first key that is not known, or that is known and not supported."""
    for path, pattern, value in each_key(config):
        why = REFUSED.get(_as_of_service(pattern))
        if _is_known(pattern) and not (why and value):  # `per_replica: false` asks for what happens anyway
            continue
        place = place_of(path)
        words, hint = why or ("Moorage does not know this key", "Remove it, or see whether a newer Moorage knows it.")
        service = str(path[1]) if path[0] == "services" and len(path) > 1 else None
        raise UnsupportedKeyError(f"{place}: {words}", key=place, service=service, hint=hint)


def notices(config: Config) -> Iterator[str]:
    """A notice for each key that nothing is done about."""
    for path, pattern, value in each_key(config):
        why = IGNORED.get(pattern)
        if not why or value in (None, "", {}, [], _USUAL.get(pattern)):
            continue
        if why == _LOCAL_FILE and not _is_local_file(config, path):
            continue
        shown = f"{place_of(path)}: {value}" if pattern in _USUAL else place_of(path)
        yield f"{shown}: {why}"


def _as_of_service(pattern: str) -> str:
    """What an init container is refused is what its service is refused, but for keys of its own."""
    return pattern if pattern in REFUSED else pattern.replace(".pre_start.*", "")


def _is_known(pattern: str) -> bool:
    parent, _, key = pattern.rpartition(".")
    return key == "*" or parent not in OBJECTS or key in OBJECTS[parent]


def _is_local_file(config: Config, path: _Path) -> bool:
    """True if a use of a secret or config is of one with a file: others are written into the container as asked for."""
    use: Any = config
    for part in path[:-1]:
        use = use[part]
    return "file" in ((config.get(str(path[-3])) or {}).get(use.get("source")) or {})


def place_of(path: _Path) -> str:
    """`services.web.ports[0].mode`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def each_key(config: Config) -> Iterator[tuple[_Path, str, Any]]:
    """(path, pattern, value) of each key of a project as far as objects are known, `*` in a pattern for any name."""
    return _keys(config, (), "")


def _keys(value: Any, path: _Path, pattern: str) -> Iterator[tuple[_Path, str, Any]]:
    """(path, pattern, value) of each key as far as objects are known; `x-…` is free for everybody."""
    named = pattern in OBJECTS
    below = f"{pattern}.*".lstrip(".")
    if isinstance(value, dict) and (named or below in _WAYS):
        for key, one in value.items():
            if not (named and str(key).startswith("x-")):
                here = f"{pattern}.{key}".lstrip(".") if named else below
                yield (*path, key), here, one
                yield from _keys(one, (*path, key), here)
    elif isinstance(value, list) and below in _WAYS:
        for number, one in enumerate(value):
            yield from _keys(one, (*path, number), below)


_WAYS = frozenset(
    {".".join(path.split(".")[:end]) for path in OBJECTS for end in range(1, path.count(".") + 2)} | {"jobs.*"}
)
"""Patterns that lead to an object."""
