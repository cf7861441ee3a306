"""Words and pictures for people; reads `model` only."""
