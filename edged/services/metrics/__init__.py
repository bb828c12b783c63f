"""Metrics of all daemons of a machine, for Prometheus: the health they publish, as OpenMetrics."""
