"""`moorage hub`: the Prefect server and worker that record and execute runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from moorage.cli.output import as_json, patient_remarks, remark, say
from moorage.hub.control import HubStatus, ProcessStatus

app = App(name="hub", help="Look after the Prefect server and its worker.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the hub's state as JSON.")]


@app.command
def start(*, json: Json = False) -> int:
    """Start server and worker and deploy the flows; what runs already stays."""
    from moorage.hub import control

    with patient_remarks() as on_line:
        control.start(on_line)
    return _show(json)


@app.command
def stop(
    *,
    timeout_s: Annotated[float, Parameter(name="--timeout", help="Seconds that interrupted runs have to undo.")] = 30.0,
    wait: Annotated[
        bool, Parameter(help="Wait for the end of the worker's runs, however long; nothing new is begun.", negative="")
    ] = False,
    json: Json = False,
) -> int:
    """Stop worker and server. Runs of the worker are interrupted and undo what they did; stacks stay up."""
    from moorage.hub import control

    with patient_remarks() as on_line:
        control.stop(timeout_s, on_line, wait=wait)
    _show(json)
    return 0


@app.command
def status(*, json: Json = False) -> int:
    """Show whether server and worker run, and where. Exit code 8 if no server answers."""
    return _show(json)


@app.command(name="open")
def open_() -> int:
    """Open the Prefect UI in a browser."""
    from moorage.hub import control

    say(control.open_ui())
    return 0


@app.command
def logs(*, tail: Annotated[int, Parameter(name=["--tail", "-n"], help="Lines of each log.")] = 50) -> int:
    """Show the end of the server's and the worker's log."""
    from moorage.hub import control

    for name, lines in control.logs(tail).items():
        for line in lines:
            say(f"{name} | {line}")
    return 0


@app.command
def backup(
    file: Path | None = None,
    *,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print where as JSON.")] = False,
) -> int:
    """Save the hub's history: a checked copy of its database, also while it runs.

    Parameters
    ----------
    file
        Where to; without it, among the hub's files.
    """
    from moorage.hub import control

    saved = control.backup(file)
    _say_file(saved, json=json)
    return 0


@app.command
def restore(
    file: Path, *, json: Annotated[bool, Parameter(name="--json", negative="", help="Print as JSON.")] = False
) -> int:
    """Bring a saved history back; the hub has to be stopped. The present one is set aside.

    Parameters
    ----------
    file
        What `moorage hub backup` has written.
    """
    from moorage.hub import control

    aside = control.restore(file)
    if aside:
        remark(f"the history that was there is now {aside}")
    _say_file(file, json=json)
    return 0


@app.command
def automate(
    *files: Path,
    block: Annotated[str | None, Parameter(help="Notification block, TYPE/NAME, for those that want one.")] = None,
) -> int:
    """Add automations to the hub from files such as those in deploy/automations; same name, replaced."""
    from moorage.hub import automations, runs

    where = runs.address()
    for file in files:
        say(automations.add(where, file, block))
    return 0


def _say_file(file: Path, *, json: bool) -> None:
    if json:
        as_json({"file": str(file.absolute()), "bytes": file.stat().st_size})
    else:
        say(str(file))


def _show(json: bool) -> int:
    from moorage.errors import HubError
    from moorage.hub import control

    found = control.status()
    if json:
        as_json(found.as_dict())
    else:
        say(_text(found))
    return 0 if found.api_url else HubError.exit_code


def _text(found: HubStatus) -> str:
    server = found.server.state if found.managed else "somebody else's"
    return "\n".join(
        [
            f"server  {server}{_process_text(found.server)}",
            f"worker  {found.worker.state}{_process_text(found.worker)}",
            f"UI      {found.ui_url or '-'}",
            f"API     {found.api_url or '-'}",
        ]
    )


def _process_text(one: ProcessStatus) -> str:
    memory = f", {one.memory_bytes >> 20} MiB" if one.memory_bytes else ""
    since = f", since {one.since.astimezone():%Y-%m-%d %H:%M:%S}" if one.since else ""
    return f" (pid {one.pid}{memory}{since})" if one.pid else ""
