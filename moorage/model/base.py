"""The base of every model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value; an unknown field is an error, not a surprise."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
