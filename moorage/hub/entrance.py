"""Links that let a browser in: each holds a token that the hub's door accepts once."""

from __future__ import annotations

from urllib.parse import urlencode

from moorage.adapters.files import LocalFiles
from moorage.hub import api
from moorage.hub.api import HubAddress
from moorage.hub.hub_home import HubHome
from moorage.hub.passes import ENTER, TOKENS

_OPENING = """<!doctype html><meta charset="utf-8"><title>Moorage</title>
<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0; url={link}">
<a href="{link}">Open the hub</a>
"""


def link(address: HubAddress) -> str:
    """A link that opens the UI once, without a password; the UI's plain address if the server has no door of ours.

    Raises HubError.
    """
    if not (address.managed and address.auth):
        return address.ui_url
    made = api.call(address, "POST", TOKENS)
    return f"{address.ui_url}{ENTER}?{urlencode({'token': made['token']})}" if made else address.ui_url


def page_of(folder: HubHome, link: str) -> str:
    """URL of a file that leads to the link: a browser gets its URL on its command line, which everybody can read."""
    return LocalFiles(folder.path).write("open.html", _OPENING.format(link=link)).as_uri()
