"""Image files as bytes: the segments, chunks and directories in which they hold pixels and metadata."""
