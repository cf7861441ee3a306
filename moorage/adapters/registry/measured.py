"""What stands in the registry for the sake of disk and memory: which images were built, what services took at most."""

from __future__ import annotations

MIGRATION = (
    """CREATE TABLE built_images (
        image_id TEXT PRIMARY KEY, stack TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX built_by_age ON built_images (at)",
    """CREATE TABLE memory_peaks (
        stack TEXT NOT NULL, service TEXT NOT NULL, bytes INTEGER NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (stack, service)) WITHOUT ROWID""",
)
"""Of version 7 of the file."""

BUILT = "SELECT image_id, stack, at FROM built_images"
NOTE_BUILT = "INSERT OR REPLACE INTO built_images VALUES (?, ?, ?)"
FORGET_BUILT = "DELETE FROM built_images WHERE image_id = ?"
KEEP_BUILT = "DELETE FROM built_images WHERE at < (SELECT at FROM built_images ORDER BY at DESC LIMIT 1 OFFSET ?)"
"""The last ones stay, and those of the same moment."""
PEAKS = "SELECT service, bytes FROM memory_peaks WHERE stack = ?"
NOTE_PEAK = """INSERT INTO memory_peaks VALUES (?, ?, ?, ?) ON CONFLICT (stack, service) DO UPDATE
    SET bytes = excluded.bytes, at = excluded.at WHERE excluded.bytes >= bytes OR at < ?"""
FORGET_PEAKS = "DELETE FROM memory_peaks WHERE stack = ?"
