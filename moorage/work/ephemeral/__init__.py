"""Stacks that live as long as one process: a CI job, a test, a `with` block."""
