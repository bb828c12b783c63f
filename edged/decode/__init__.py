"""decode: an engine's outputs become a prediction. One file per task."""
