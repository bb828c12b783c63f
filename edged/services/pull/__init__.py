"""Engines from an OCI registry into `incoming/`."""
