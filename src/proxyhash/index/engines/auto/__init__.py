"""The planner: picks the fastest exact engine by measurement."""
