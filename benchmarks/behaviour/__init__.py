"""behaviour: what users and their programs notice of two checkouts, side by side.

    python -m benchmarks.behaviour OLD NEW

Exit codes, texts, help, config keys, bytes on the wire, keys of JSON answers. Every difference is either written down
in `intended.json` with its reason, or a failure; and so is one written down that no longer occurs.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests/support"))  # `warm`: a command without its imports' time
