"""Nouns: frozen models without behaviour beyond their own invariants."""
