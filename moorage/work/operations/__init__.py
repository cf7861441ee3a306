"""What Moorage does: one file a verb."""
