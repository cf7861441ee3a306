"""What a run of our flows may be told, and by whom: by its parameters, and by nothing else that the API has stored.

A deployment of ours is one whose entry point is a flow of this project, whatever it is called and whoever made it. What
command is run, with which environment and where, is the hub's affair. Deployments of other people's flows are theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moorage.errors import DefinitionError
from moorage.hub.prefect_file import flow_of
from moorage.hub.project import flow_names, project_directory
from moorage.model.base import Frozen

_OF_THE_HUB = ("command", "env", "working_dir")
"""Job variables that would change what is run. The others (`name`, `labels`, `stream_output`) change nothing."""
_STAY = "prefect.deployments.steps.set_working_directory"


class Deployed(Frozen):
    """What the API says of a deployment."""

    name: str
    flow: str
    """Name of its flow."""
    pool: str
    """The pool of the worker that is to run it."""
    entrypoint: str | None
    pull_steps: tuple[Mapping[str, Any], ...] = ()

    @property
    def full_name(self) -> str:
        """As Prefect shows it."""
        return f"{self.flow}/{self.name}"


def own_entrypoint(deployed: Deployed) -> str | None:
    """Where the flow of ours is that a deployment runs: `/…/flows/up.py:up`. None: it runs somebody else's.

    Raises DefinitionError: it bears the name of one of ours, and somebody has led it elsewhere.
    """
    if name := own_flow(deployed.entrypoint, deployed.pull_steps):
        return f"{project_directory() / 'flows' / name}.py:{name}"
    if deployed.flow in flow_names() and flow_of(deployed.name, deployed.pool) == deployed.flow:
        message = f"deployment {deployed.full_name}: {_elsewhere(deployed)} is not Moorage's flow; it was not started"
        hint = "Give your own flow another name or a pool of its own; `moorage hub start` restores Moorage's."
        raise DefinitionError(f"{message}. {hint}")
    return None


def own_flow(entrypoint: str | None, pull_steps: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Name of the flow of ours at an entry point. None: it is none of ours, or the steps before it lead elsewhere."""
    return _flow_at(entrypoint) if _stays(pull_steps or ()) else None


def check_job_variables(deployed: Deployed, *given: Mapping[str, Any] | None) -> None:
    """Raises DefinitionError for job variables, of the deployment or of a run, that would change what is run."""
    refused = sorted({name for variables in given for name in _refused(variables or {})})
    if refused:
        message = f"deployment {deployed.full_name}: job_variables: {', '.join(refused)}: only the hub says"
        message += " with which command, environment and directory Moorage's flows run; it was not started"
        raise DefinitionError(f"{message}. Set variables where `moorage hub start` is run, or use parameters.")


def _refused(variables: Mapping[str, Any]) -> Iterator[str]:
    """Names of what must not be said: of variables of the environment too, but not their values."""
    for key, value in variables.items():
        kind = key.partition(".")[0]  # Prefect takes `env.NAME` for `{"env": {"NAME": …}}`
        if kind not in _OF_THE_HUB or value in (None, "", {}):
            continue
        if key == "env" and isinstance(value, Mapping):
            yield from (f"env.{name}" for name in value)
        else:
            yield key


def _elsewhere(deployed: Deployed) -> str:
    if _stays(deployed.pull_steps):
        return f"its entry point {deployed.entrypoint!r}"
    return f"its entry point {deployed.entrypoint!r}, after {len(deployed.pull_steps)} pull steps,"


def _stays(pull_steps: Sequence[Mapping[str, Any]]) -> bool:
    """True: the steps before the flow is loaded lead to no other place than the project's directory."""
    here = [{_STAY: {"directory": directory}} for directory in (".", str(project_directory()))]
    return all(step in here for step in pull_steps)


def _flow_at(entrypoint: str | None) -> str | None:
    """The flow of ours at an entry point, given as `flows/up.py:up` or as `flows.up.up`. None: none of ours."""
    file, _, function = (entrypoint or "").rpartition(":")
    for name in flow_names():
        if entrypoint in (f"flows.{name}.{name}", f"flows.{name}:{name}"):
            return name
        ours = project_directory() / "flows" / f"{name}.py"
        if function == name and (project_directory() / file).resolve() == ours.resolve():
            return name
    return None
