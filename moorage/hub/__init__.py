"""The hub: the Prefect server and worker that record and execute runs."""
