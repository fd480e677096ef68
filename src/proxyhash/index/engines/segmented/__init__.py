"""One engine over the segments of a growing store."""
