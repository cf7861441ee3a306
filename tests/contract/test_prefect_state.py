"""Prefect's settings and logging made before somebody comes who has that environment: as if made by Prefect then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIVES = """
import logging, os, sys
from pathlib import Path
import prefect.main
from prefect.settings import get_current_settings
from moorage.hub import prefect_state

def now():
    loggers = [logging.getLogger(name) for name in (None, "prefect", "prefect.flow_runs", "prefect.extra", "moorage")]
    told = [(one.level, one.propagate, [(type(h).__name__, h.level) for h in one.handlers]) for one in loggers]
    return get_current_settings().model_dump(mode="json"), told

own = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_LOGGING_LEVEL": "ERROR",
       "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_LOGGING_EXTRA_LOGGERS": "moorage"}
before = now()
made = prefect_state.made_for({**os.environ, **own})
assert now() == before, "this process keeps what it has"
assert prefect_state.without_settings({**os.environ, **own}).keys() == {k for k in os.environ if k[:8] != "PREFECT_"}
assert not made.take() and now() == before, "another environment"
os.environ.update(own)
CHANGED
taken = made.take(), now()
prefect_state.renew()
renewed = now()
assert renewed != before
assert len(logging.getLogger("moorage").handlers) <= 1, "each line is logged once"
print(taken[0], taken[1] == renewed)
"""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("", "True True"),
        ("os.environ['PREFECT_CLIENT_MAX_RETRIES'] = '1'", "False False"),
        ("del os.environ['PREFECT_API_URL']", "False False"),
        ("os.environ['PREFECT__FLOW_RUN_ID'] = 'x'", "True True"),
        ("Path('prefect.toml').write_text('[client]\\nmax_retries = 1\\n')", "False False"),
        (
            "(Path(os.environ['HOME']) / '.prefect' / 'profiles.toml').write_text('active = \"p\"\\n[profiles.p]\\n')",
            "False",
        ),
        ("(Path(os.environ['HOME']) / '.prefect' / 'logging.yml').write_text('version: 1\\n')", "False"),
    ],
    ids=["the same", "a setting more", "one less", "of a process", "a file here", "profiles", "a file for logging"],
)
def test_what_was_made_is_taken_where_it_is_what_would_be_made(tmp_path: Path, changed: str, said: str) -> None:
    (tmp_path / ".prefect").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MOORAGE_"))}
    done = subprocess.run(
        [sys.executable, "-c", LIVES.replace("CHANGED", changed)],
        cwd=tmp_path,
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(said)
