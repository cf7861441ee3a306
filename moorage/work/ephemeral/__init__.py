"""Stacks that live with one process: a CI job, a test, a `with` block."""
