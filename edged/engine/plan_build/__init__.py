"""Building: an engine's graph becomes a TensorRT plan for this machine, in a process of its own.

`python -m edged.engine.plan_build` is that process (`worker.py`); `start.py` starts it. Only this package and
`engine/tensorrt.py` know TensorRT.
"""
