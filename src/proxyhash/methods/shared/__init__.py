"""Shared parts of the methods: the objective, its settings, schedules and proxies."""
