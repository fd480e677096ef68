"""What several methods share: the objective, its settings, schedules and proxies."""
