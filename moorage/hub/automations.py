"""Automations on the hub: two of our own for killed runs, and those from files (deploy/automations)."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from moorage import bounded
from moorage.errors import DefinitionError
from moorage.hub import api, deployed
from moorage.hub.api import HubAddress
from moorage.hub.project import flow_names

_BEAT_MISSED_S = 120
"""Flow runs send a heartbeat every 30 s; on a busy machine some may be late."""
_NOT_FOLLOWED = frozenset({"status", "sweep"})
"""Their crashes leave nothing to sweep up, and a sweep must not trigger itself."""
_ENDS = [f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")]


def ensure_own(address: HubAddress) -> None:
    """Create our two automations: dead runs become Crashed, and a crash triggers a sweep. Raises HubError.

    Call this when the deployments exist.
    """
    for automation in (_dead_runs(), _sweep_up()):
        _put(address, _resolved(address, automation, None))


def add(address: HubAddress, file: Path, block: str | None) -> str:
    """Add or replace the automation in a file; returns its name. Raises HubError, DefinitionError.

    In the file, `deployment: FLOW` and `block: TYPE/NAME` stand for ids; `${block}` stands for the argument.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        automation = yaml.safe_load(bounded.text_of(file, errors="strict"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DefinitionError(f"{file}: {error}", file=str(file)) from None
    if not isinstance(automation, dict) or not {"name", "trigger", "actions"} <= set(automation):
        raise DefinitionError(f"{file}: an automation needs name, trigger and actions", file=str(file))
    _put(address, _resolved(address, automation, block))
    return str(automation["name"])


def _put(address: HubAddress, automation: dict[str, Any]) -> None:
    wanted = {"automations": {"name": {"any_": [automation["name"]]}}}
    found = api.call(address, "POST", "/automations/filter", wanted) or []
    if found:
        body = {"enabled": found[0]["enabled"], **automation}  # an automation that was switched off stays off
        api.call(address, "PUT", f"/automations/{found[0]['id']}", body)
    else:
        api.call(address, "POST", "/automations/", automation)


def _resolved(address: HubAddress, automation: dict[str, Any], block: str | None) -> dict[str, Any]:
    """The automation with names of deployments and blocks replaced by their ids. Raises DefinitionError."""
    ours = deepcopy(automation)
    for action in ours["actions"]:
        if flow := action.pop("deployment", None):
            found = deployed.found_on(address)
            if flow not in found:
                hint = "`moorage hub start` creates it."
                raise DefinitionError(f"{ours['name']}: there is no deployment {flow!r}", hint=hint)
            action["deployment_id"] = found[flow]
        if named := action.pop("block", None):
            action["block_document_id"] = _block(address, block if named == "${block}" else named)
    return ours


def _block(address: HubAddress, named: str | None) -> str:
    kind, _, name = (named or "").partition("/")
    if not kind or not name:
        raise DefinitionError(
            "the automation needs a block", hint="Name it with --block TYPE/NAME, such as slack-webhook/ops."
        )
    found = api.call(address, "GET", f"/block_types/slug/{kind}/block_documents/name/{name}")
    if not found:
        raise DefinitionError(f"there is no block {named}", hint="Create it in the UI under Blocks.")
    return str(found["id"])


def _ours() -> dict[str, Any]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": flow_names()}


def _dead_runs() -> dict[str, Any]:
    return {
        "name": "moorage: dead runs",
        "description": "A flow run without a heartbeat for two minutes was killed: it is set to Crashed.",
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "after": ["prefect.flow-run.heartbeat"],
            "expect": ["prefect.flow-run.heartbeat", *_ENDS],
            "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
            "match_related": _ours(),
            "for_each": ["prefect.resource.id"],
            "threshold": 1,
            "within": _BEAT_MISSED_S,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "name": "Crashed",
                "message": "no heartbeat for two minutes: its process was killed",
            }
        ],
    }


def _sweep_up() -> dict[str, Any]:
    followed = [name for name in flow_names() if name not in _NOT_FOLLOWED]
    return {
        "name": "moorage: sweep after a crash",
        "description": "Recovers what a crashed run has left behind at once, not at the next scheduled sweep.",
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "expect": ["prefect.flow-run.Crashed"],
            "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
            "match_related": {**_ours(), "prefect.resource.name": followed},
            "threshold": 1,
            "within": 0,
        },
        "actions": [{"type": "run-deployment", "source": "selected", "deployment": "sweep", "parameters": {}}],
    }
