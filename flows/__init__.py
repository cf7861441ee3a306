"""Prefect flows, which the UI runs: one file per flow, read from top to bottom."""
