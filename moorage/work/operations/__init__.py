"""What Moorage does: one file per verb."""
