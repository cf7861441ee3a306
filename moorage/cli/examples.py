"""Example commands, shown at the end of a verb's `--help`."""

from __future__ import annotations

EXAMPLES = {
    "up": "moorage up --wait-timeout 120",
    "down": "moorage down --volumes --release-ports",
    "stop": "moorage stop --timeout 5 backend",
    "start": "moorage start backend",
    "restart": "moorage restart backend --recreate",
    "build": "moorage build --no-cache backend",
    "pull": "moorage pull --include-deps backend",
    "scale": "moorage scale worker=3",
    "ls": "moorage ls --json",
    "status": "moorage status --name shop --json",
    "logs": "moorage logs --follow --tail 100 backend",
    "stats": "moorage stats --all --json",
    "timeline": "moorage timeline --svg start.svg",
    "exec": "moorage exec --user postgres db -- psql --list",
    "run": "moorage run --env DEBUG=1 backend -- python manage.py migrate",
    "env": "moorage env --format dotenv",
    "open": "moorage open frontend --port 8080",
    "ports": "moorage ports why 8000",
    "health": "moorage health --heal",
    "plan": "moorage plan --file compose.yaml --file compose.test.yaml",
    "config": "moorage config --json",
    "wait": "moorage wait --timeout 120",
    "runs": "moorage runs --json",
    "cancel": "moorage cancel 3f2a",
    "history": "moorage history --runs",
    "rollback": "moorage rollback --to 3",
    "sweep": "moorage sweep --dry-run",
    "ci": "moorage ci --junit reports --artifacts out -- pytest -x",
    "init": "moorage init operations",
    "doctor": "moorage doctor --json",
}
"""Verb → one command line."""
