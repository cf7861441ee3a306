"""What is on record in `$MOORAGE_HOME`: the SQLite file and the files beside it."""
