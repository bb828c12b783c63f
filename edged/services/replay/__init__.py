"""Replay: the production pipeline once more, from the trace of a recording."""
