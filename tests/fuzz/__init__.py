"""Damaged and crafted files of every kind that may come from strangers, each opened in a process.

The suite runs a few of each kind. For the counts of SECURITY.md:

    .venv/bin/python -m tests.fuzz --cases 2000
"""
