"""Dagger: its engine, its CLI, its session."""
