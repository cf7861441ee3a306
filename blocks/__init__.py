"""Prefect Blocks: what people configure in the UI."""
