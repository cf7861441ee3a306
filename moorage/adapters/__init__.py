"""The windows to foreign protocols: one module each."""
