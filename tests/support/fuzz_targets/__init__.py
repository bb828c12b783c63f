"""One file for each boundary that bytes from outside come in by. See `fuzz.py`."""
