"""Queries about stacks; change nothing."""
