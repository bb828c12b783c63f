"""Swapping engines under a running loop: proved before, watched after, and undone by itself when it fails there.

staged -> verified -> built -> loaded -> warmed -> golden -> shadow -> swapped -> probation -> committed, or refused or
rolled_back with the reason. `swapper.py` knows this order, `trial_worker.py` is the process of its own, the rest its
steps. docs/swap.md describes it for operators.
"""
