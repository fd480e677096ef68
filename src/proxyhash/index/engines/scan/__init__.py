"""Linear scan over all codes."""
