"""Prefect Blocks, for configuration in the UI."""
