"""Prefect tasks, which the UI shows as boxes. A task is one line of policy around one call."""
