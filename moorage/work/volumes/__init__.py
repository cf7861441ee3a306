"""Volumes as archives: reading, writing and checking them."""
