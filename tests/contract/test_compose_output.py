"""What Compose prints as JSON, made readable again, says what its YAML says: for every key, with values that Go omits."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from moorage.adapters.compose.as_read import parsed
from moorage.adapters.compose.cli import ComposeCli
from moorage.errors import DefinitionError
from moorage.model.definition import Source
from moorage.rules.reading import service_extensions
from moorage.settings import Settings
from tests.contract.test_every_key import SEED, Reader, all_keys, project, right_value
from tests.counts import COUNTS

if TYPE_CHECKING:
    from pathlib import Path

SHARDS = 8
EMPTY: tuple[Any, ...] = (0, False, "", [], {}, "0s", "0", None)
ONLY_IN_YAML = ("models", "jobs")
"""What the JSON has not, and nobody misses: models are refused where services name them, and a start runs no jobs."""
ONLY_IN_JSON = ("configs.c.content",)
"""What is put back into the JSON, and the YAML has not: Compose itself drops the empty content of a config."""


def said(config: Any) -> Any:
    """Without what is null or an empty mapping: to leave a key out says the same."""
    if isinstance(config, dict):
        pairs = {key: said(value) for key, value in config.items()}
        return {key: value for key, value in pairs.items() if value not in (None, {})}
    return [said(one) for one in config] if isinstance(config, list) else config


def differences(ours: Any, yaml: Any, place: str = "") -> list[str]:
    """Places where the two say something else."""
    if isinstance(ours, dict) and isinstance(yaml, dict):
        keys = sorted(ours.keys() | yaml.keys())
        return [one for key in keys for one in differences(ours.get(key), yaml.get(key), f"{place}.{key}".lstrip("."))]
    known = place.startswith(ONLY_IN_YAML if ours is None else ONLY_IN_JSON if yaml is None else "\0")
    return [] if ours == yaml or known else [f"{place}: {ours!r}, in YAML {yaml!r}"]


def compare(folder: Path, cases: list[tuple[str, str, Any]]) -> tuple[dict[str, int], list[str]]:
    Reader(folder)  # makes the files that the values name
    compose, source = ComposeCli(Settings()), Source(directory=folder)
    counted, wrong = {"compared": 0, "refused by Compose": 0}, list[str]()
    for path, key, value in cases:
        (folder / "compose.yaml").write_text(json.dumps(project(path, key, value)))
        try:
            ours = compose.config(source, None, {})
        except DefinitionError:
            counted["refused by Compose"] += 1
            continue
        yaml = parsed(compose._yaml(source, (), {}, None))
        for service in yaml["services"].values():
            for extension in service_extensions({"services": {"x": service}}).get("x", ()):
                del service[extension]
        counted["compared"] += 1
        found = differences(said(ours), said(yaml))
        wrong += [f"{path}.{key}: {value!r}: {difference}" for difference in found]
    return counted, wrong


def check(folder: Path, cases: list[tuple[str, str, Any]], record: Any) -> None:
    counted, wrong = compare(folder, cases)
    record(COUNTS, {"of": "JSON beside YAML", "how": {**counted, "differences": len(wrong)}})
    assert not wrong, "\n".join(wrong)


def test_limits_of_zero_and_a_slice_of_all_keys(tmp_path: Path, record_property: Any) -> None:
    chance = random.Random(SEED)
    keys = chance.sample(all_keys(), 8)
    limits = [(f"services.*{place}", {"core": 0, "nofile": {"soft": 0, "hard": 9}}) for place in ("", ".build")]
    cases = [(path, "ulimits", value) for path, value in limits]
    cases.append(("services.*.pre_start.*", "ulimits", {"core": 0}))
    check(tmp_path, [*cases, *((path, key, chance.choice(EMPTY)) for path, key, _ in keys)], record_property)


@pytest.mark.exhaustive
@pytest.mark.parametrize("shard", range(SHARDS))
def test_all_keys(tmp_path: Path, record_property: Any, shard: int) -> None:
    keys = all_keys()[shard::SHARDS]
    values = [(path, key, value) for path, key, kinds in keys for value in (right_value(path, key, kinds), *EMPTY)]
    check(tmp_path, values, record_property)
