"""Requests, the definitions that they resolve to, and stored generations."""
