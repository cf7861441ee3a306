"""Output of programs."""

from __future__ import annotations

from collections.abc import Callable

Line = Callable[[str], None]
"""Receives output line by line, without line ends."""
