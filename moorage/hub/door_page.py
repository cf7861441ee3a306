"""The pages of the hub's door: how to come in, and the way in from a link."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape

_GO = "document.forms[0].requestSubmit()"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem; color: #222 }
code { background: #eee; padding: .1rem .3rem; border-radius: .2rem }
label { display: block; margin: .5rem 0 } input, button { font: inherit }
@media (prefers-color-scheme: dark) { body { background: #16181d; color: #ddd } code { background: #333 } }
"""


def _allowed(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_NOTHING_ELSE = "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
HEADERS = (
    (
        "content-security-policy",
        f"default-src 'none'; script-src {_allowed(_GO)}; style-src {_allowed(_STYLE)}; {_NOTHING_ELSE}",
    ),
    # Not `no-referrer`: a form would then send `Origin: null`, which we refuse.
    ("referrer-policy", "same-origin"),
)


def closed(wanted: str, said: str = "", *, password: bool) -> str:
    """The page that people see who have not come in. `wanted`: where they wanted to go; `said`: what went wrong.

    `password`: the hub has a password that somebody has chosen, so it can be typed.
    """
    return _page(
        f"""<h1>Moorage</h1>
{f"<p><strong>{escape(said)}</strong></p>" if said else ""}
<p>This hub serves only the user who started it. In a terminal of that user, run</p>
<p><code>moorage hub open</code></p>
<p>It opens the hub in your browser, and prints a link that does the same once.
Then reload this page.</p>
{_form(wanted) if password else ""}"""
    )


def way_in(token: str, wanted: str) -> str:
    """The page behind a link: its form is sent by itself, so that programs that look at links do not use them up."""
    return _page(
        f"""<h1>Moorage</h1>
<form method="post" action="/moorage/enter">
<input type="hidden" name="token" value="{escape(token)}"><input type="hidden" name="next" value="{escape(wanted)}">
<button>Open the hub</button>
</form>
<script>{_GO}</script>"""
    )


def _form(wanted: str) -> str:
    return f"""<p>Or type the password (<code>MOORAGE_HUB_AUTH</code>):</p>
<form method="post" action="/moorage/enter">
<label>User <input name="user" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<input type="hidden" name="next" value="{escape(wanted)}"><button>Enter</button>
</form>"""


def _page(body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Moorage</title><style>{_STYLE}</style></head>
<body>{body}</body></html>
"""
