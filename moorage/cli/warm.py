"""Hands a command to the hub's template process, which forks it with all its imports done. Standard library only.

This process becomes the one that waits: it passes signals on, and ends as the command ends. Whatever speaks against it
leaves the command where it is, in this process; that is slower, and nothing else.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Sequence

_HERE = frozenset({"exec", "run", "ci", "hub", "init", "doctor", "open", "worktree"})
"""Verbs that are about this very process or its terminal, give them to other programs, or are about the hub itself."""
_OFF = ("0", "off", "f", "false", "n", "no")
"""As pydantic reads them."""
_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGTSTP", "SIGWINCH")
_HEARD = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_PATIENCE_S = 5.0
"""For each answer of the template. On a busy machine it takes longer, and importing everything longer still."""


def can_be(arguments: Sequence[str]) -> bool:
    """Whether a command can be handed over, as far as its arguments say; cheap where there is no hub."""
    verb = next(iter(arguments), "")
    if not verb[:1].isalpha() or verb in _HERE or not hasattr(os, "fork"):
        return False
    if (_variable("MOORAGE_HUB_WARM_COMMANDS") or "").lower() in _OFF:
        return False
    try:
        return stat.S_ISSOCK(os.stat(_socket()).st_mode)  # noqa: PTH116 - pathlib takes a while to import
    except (OSError, ValueError):
        return False


def hand_over() -> None:
    """Returns if the command has to be run here: nothing has begun then."""
    import moorage
    from moorage.hub import process_attributes, warm_start

    if process_attributes.why_not():
        return
    handed_on = process_attributes.handed_on()
    request = {
        "fixed": process_attributes.fixed(moorage.__file__),
        "environment": dict(os.environ),
        "umask": warm_start.umask(),
        **handed_on,
    }
    try:
        here = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    command = warm_start.Handing(_socket(), _PATIENCE_S)
    begun = command.begin(request, here, *handed_on["descriptors"], hear=_HEARD)
    os.close(here)
    if begun:
        command.attend()


def _socket() -> str:
    """Where the template listens: `HubHome.template_socket`, without what takes long to import."""
    home = _variable("MOORAGE_HOME")
    if not home:
        import platformdirs

        home = platformdirs.user_state_dir("moorage")
    return os.path.join(os.path.abspath(os.path.expanduser(home)), "hub", "template.sock")  # noqa: PTH100, PTH111, PTH118


def _variable(name: str) -> str | None:
    """A setting of the environment, whatever the case of its letters, as pydantic finds it. None: it is not there."""
    return next((value for key, value in os.environ.items() if key.upper() == name), None)
