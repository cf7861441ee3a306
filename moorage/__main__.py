"""`python -m moorage`."""

import sys
from pathlib import Path

if not sys.flags.safe_path and sys.path[0] != str(Path(__file__).resolve().parents[1]):
    # `-m` puts the working directory first: a project's `docker.py` would be imported in place of the library.
    del sys.path[0]

from moorage.cli import main

main()
