"""Photographs as files: headers, pixels, profiles, metadata; the stages ingest and render."""
