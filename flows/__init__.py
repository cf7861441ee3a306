"""Prefect flows: what the UI runs. One file a flow, read from top to bottom."""
