"""The Docker engine, by the Docker SDK."""
