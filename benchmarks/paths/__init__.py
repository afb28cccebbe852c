"""Which way packets go: the NAT matrix, cold starts beside stock magicsock's, and what path choice costs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "lab"))  # its internet serves here too
