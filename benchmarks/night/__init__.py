"""The scripted night: faults of twelve kinds at known moments, and what `edged history` says of them in the morning.

A cell of one policy is fed by us, stamp by stamp, so the moment at which the configuration makes a fault count is known
to the nanosecond: a stream's last stamp and its max_age_ms, the first sample that is low, the request of an operator.
The history has to name each fault by its cause, and to begin it at most one tick of the daemon after that moment.
"""
