"""What the environment says."""

import os

CORS_ORIGINS = [origin for origin in os.environ.get("CORS_ORIGINS", "").split(",") if origin]
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
POSTGRES = {
    "host": os.environ.get("POSTGRES_HOST", "localhost"),
    "port": os.environ.get("POSTGRES_PORT", "5432"),
    "user": os.environ.get("POSTGRES_USER", "commandcenter"),
    "password": os.environ.get("POSTGRES_PASSWORD", "commandcenter"),
    "dbname": os.environ.get("POSTGRES_DB", "commandcenter"),
    "connect_timeout": 2,
    "options": "-c statement_timeout=2000",
}
CHECK_TIMEOUT_S = 1.0
