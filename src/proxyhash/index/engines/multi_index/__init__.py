"""Multi-index hashing: tables of substrings."""
