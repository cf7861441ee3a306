"""What was asked for: requests, what they resolve to, and the generations that are written down."""
