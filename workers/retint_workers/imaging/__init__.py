"""Photographs as files: formats, pixels, color profiles, metadata; the stages ingest and render."""
