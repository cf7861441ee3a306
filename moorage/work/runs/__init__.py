"""How one run goes: lock, record, steps in order, waiting, commit, undo, recovery."""
