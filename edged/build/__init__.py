"""Building: an engine's graph becomes a TensorRT plan for this machine, in a process of its own.

`python -m edged.build` is that process (`worker.py`); `edged.planning` starts it. Only this package and
`engine/tensorrt.py` know TensorRT.
"""
