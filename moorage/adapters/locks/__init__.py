"""Kernel locks."""
