"""What Compose says on stderr about keys that it ignores."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_WARNING = re.compile(r'level=warning msg=("(?:[^"\\]|\\.)*")')
_OF_SERVICE = re.compile(r'service "(?P<service>[^"]+)": (?P<rest>[\w.\[\]]+: .*)')
_OF_THING = re.compile(r"(?:configs|jobs|models|networks|secrets|volumes)\.\S+: .*")


def ignored_keys(stderr: str) -> Iterator[str]:
    """`services.web.deploy.mode: …` for each such warning.

    Other warnings are left out: one about a variable that is not set may quote a password with a `$` in it.
    """
    for found in _WARNING.finditer(stderr):
        text = json.loads(found[1])
        if of_service := _OF_SERVICE.fullmatch(text):
            yield f"services.{of_service['service']}.{of_service['rest']}"
        elif _OF_THING.fullmatch(text):
            yield text
