"""The registry of `$MOORAGE_HOME`: a SQLite file."""
