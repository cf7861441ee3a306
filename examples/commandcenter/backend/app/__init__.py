"""The command center's API: notes in PostgreSQL, a hit counter in Redis."""
