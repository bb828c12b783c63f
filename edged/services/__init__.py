"""Processes of their own beside the daemons: clients of the public bus, which the loop does not know."""
