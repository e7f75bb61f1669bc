"""Films: decoding, the four stages frame by frame, encoding."""
