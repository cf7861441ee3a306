"""`moorage hub`: the Prefect server and worker that record and execute runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from moorage.cli.output import as_json, patient_remarks, remark, say
from moorage.hub.control import HubStatus, ProcessStatus
from moorage.show.redaction import HIDDEN

app = App(name="hub", help="Manage the Prefect server and its worker.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the hub's state as JSON.")]


@app.command
def start(*, json: Json = False) -> int:
    """Start server and worker and deploy the flows; processes that already run are kept.

    Prints a link that opens the UI in a browser, once and within ten minutes.
    """
    from moorage.hub import control, entrance

    with patient_remarks() as on_line:
        link = entrance.link(control.start(on_line))
    return _show(json, link=link)


@app.command
def stop(
    *,
    timeout_s: Annotated[
        float, Parameter(name="--timeout", help="Time for interrupted runs to undo their work, in seconds.")
    ] = 30.0,
    wait: Annotated[
        bool, Parameter(help="Wait for the worker's runs to end, however long, and start no new ones.", negative="")
    ] = False,
    json: Json = False,
) -> int:
    """Stop worker and server. The worker's runs are interrupted and undo their work; stacks stay up."""
    from moorage.hub import control

    with patient_remarks() as on_line:
        control.stop(timeout_s, on_line, wait=wait)
    _show(json)
    return 0


@app.command
def status(
    *,
    json: Json = False,
    show_secrets: Annotated[bool, Parameter(help="Do not hide the API's password.", negative="")] = False,
) -> int:
    """Show whether server and worker are running, and where. Exit code 8 if no server answers."""
    return _show(json, show_secrets=show_secrets)


@app.command(name="open")
def open_() -> int:
    """Open the Prefect UI in a browser, and print a link that does it once, within ten minutes."""
    from moorage.hub import control

    say(control.open_ui())
    return 0


@app.command
def env(
    *,
    form: Annotated[
        Literal["shell", "dotenv", "json"], Parameter(name="--format", help="Output format.", show_default=True)
    ] = "shell",
    json: Annotated[bool, Parameter(name="--json", negative="", help="Same as --format json.")] = False,
) -> int:
    """Print the variables, secret included, with which Prefect's own command uses the hub: `eval "$(moorage hub env)"`.

    Exit code 8 if no server answers.
    """
    from moorage.hub import control
    from moorage.hub.project import past_proxies
    from moorage.show.variables_text import dotenv_text, shell_text

    found = control.running()
    variables = {"PREFECT_API_URL": found.api_url, "PREFECT_UI_URL": found.ui_url}
    if found.auth:
        variables["PREFECT_API_AUTH_STRING"] = found.auth
    variables |= past_proxies(found)
    if json or form == "json":
        as_json(variables)
    else:
        say(shell_text(variables) if form == "shell" else dotenv_text(variables))
    return 0


@app.command
def logs(*, tail: Annotated[int, Parameter(name=["--tail", "-n"], help="Number of lines of each log.")] = 50) -> int:
    """Show the last lines of the server's and the worker's log."""
    from moorage.hub import control
    from moorage.show.formatting import clean

    for name, lines in control.logs(tail).items():
        for line in lines:
            say(f"{name} | {clean(line)}")
    return 0


@app.command
def backup(
    file: Path | None = None,
    *,
    json: Annotated[
        bool, Parameter(name="--json", negative="", help="Print the file's path and size as JSON.")
    ] = False,
) -> int:
    """Back up the hub's history: a checked copy of its database, made even while the hub is running.

    Parameters
    ----------
    file
        File to write (default: in the hub's folder).
    """
    from moorage.hub import control

    saved = control.backup(file)
    _say_file(saved, json=json)
    return 0


@app.command
def restore(
    file: Path,
    *,
    json: Annotated[
        bool, Parameter(name="--json", negative="", help="Print the file's path and size as JSON.")
    ] = False,
) -> int:
    """Restore the hub's history from a backup; the hub must be stopped. The current history is set aside.

    Parameters
    ----------
    file
        A file written by `moorage hub backup`.
    """
    from moorage.hub import control

    aside = control.restore(file)
    if aside:
        remark(f"the previous history is now {aside}")
    _say_file(file, json=json)
    return 0


@app.command
def automate(
    *files: Path,
    block: Annotated[
        str | None, Parameter(help="Notification block, TYPE/NAME, for automations that need one.")
    ] = None,
) -> int:
    """Add automations to the hub from files such as those in deploy/automations; one of the same name is replaced."""
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


def _show(json: bool, *, link: str | None = None, show_secrets: bool = False) -> int:
    from moorage.errors import HubError
    from moorage.hub import control

    found = control.status()
    if json:
        as_json(_data(found, show_secrets=show_secrets) | ({"open_url": link} if link else {}))
    else:
        more = [f"auth    {found.auth.get_secret_value()}"] if show_secrets and found.auth else []
        say("\n".join([_text(found), *more, *([f"open    {link}"] if link else [])]))
    return 0 if found.api_url else HubError.exit_code


def _data(found: HubStatus, *, show_secrets: bool) -> dict[str, Any]:
    auth = found.auth and (found.auth.get_secret_value() if show_secrets else HIDDEN)
    return found.as_dict() | {"auth": auth}


def _text(found: HubStatus) -> str:
    server = found.server.state if found.managed else "not managed by Moorage"
    return "\n".join(
        [
            f"server    {server}{_process_text(found.server)}",
            f"worker    {found.worker.state}{_process_text(found.worker)}",
            f"runs      {_runs_text(found.template)}",
            f"commands  {_commands_text(found.template)}",
            f"UI        {found.ui_url or '-'}",
            f"API       {found.api_url or '-'}",
        ]
    )


def _runs_text(template: ProcessStatus) -> str:
    return f"forked from a template{_process_text(template)}" if template.pid else "started anew"


def _commands_text(template: ProcessStatus) -> str:
    from moorage.settings import settings

    if not settings().hub_warm_commands:
        return "started anew (MOORAGE_HUB_WARM_COMMANDS)"
    return "forked from it" if template.pid else "started anew"


def _process_text(one: ProcessStatus) -> str:
    memory = f", {one.memory_bytes >> 20} MiB" if one.memory_bytes else ""
    since = f", since {one.since.astimezone():%Y-%m-%d %H:%M:%S}" if one.since else ""
    return f" (pid {one.pid}{memory}{since})" if one.pid else ""
