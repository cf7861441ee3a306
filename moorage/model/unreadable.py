"""Something foreign that makes no sense, and is set aside: it stops nothing else."""

from __future__ import annotations

from moorage.model.base import Frozen


class Unreadable(Frozen):
    """One item of a list that cannot be read: a row, a container, a file. The rest of the list counts."""

    where: str
    """Which item it is, in words; foreign text in it is quoted."""
    what: str
    """What is wrong with it."""
    hint: str
    """What to do next."""
    stack: str = ""
    """Empty: of no stack, or it is not known of which."""
    run: str | None = None
    """Id of the run that it is the record of, if that run has not ended. None: it is something else."""

    @property
    def said(self) -> str:
        """All of it in one sentence, and what to do next."""
        return f"{self.where}: {self.what}. {self.hint}"
