"""Reads a snapshot as `moorage volumes restore` does before it touches anything; a program, so that it can be measured."""

from __future__ import annotations

import sys
from pathlib import Path

from moorage.cli.output import show_error
from moorage.errors import MoorageError
from moorage.settings import settings
from moorage.work.volumes.archive import Reader


def main(path: str) -> int:
    try:
        with Reader(Path(path)) as reader:
            reader.verify(settings().archive_limit_bytes, settings().archive_ratio)
    except MoorageError as error:
        return show_error(error, as_json=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
