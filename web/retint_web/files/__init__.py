"""Files that the portal sends: downloads, reports, deep zoom tiles."""
