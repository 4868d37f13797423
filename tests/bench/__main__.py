"""The command `python tests/bench`: it measures the checkout that it stands in."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    TESTS = Path(__file__).resolve().parent.parent
    sys.path[:1] = [str(TESTS.parent), str(TESTS)]
    sys.exit(import_module("bench.command").main())
