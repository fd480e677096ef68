"""Exact search through clusters of codes."""
