"""One work in this process: `python -m tests.bench.child NAME` writes its rows as JSON."""

from __future__ import annotations

import importlib
import json
import logging
import sys


def main(name: str) -> int:
    logging.disable(logging.INFO)
    rows = importlib.import_module(f"tests.bench.{name}").bench()
    json.dump([row.as_json() for row in rows], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
