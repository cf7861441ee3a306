"""Doing it, through the interfaces; one short function a kind of step."""
