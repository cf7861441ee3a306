"""The adapters of foreign protocols, by what they speak to."""
