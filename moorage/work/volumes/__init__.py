"""Volumes as archives: read, written, checked."""
