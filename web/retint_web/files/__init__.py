"""Bytes of the store on their way to a browser: downloads, reports, deep zoom."""
