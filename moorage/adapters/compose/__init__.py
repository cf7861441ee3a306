"""The Compose CLI, and what belongs to its builds."""
