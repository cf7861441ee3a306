"""The Compose CLI and its builds."""
