"""The figures of the last saved run, with what they were measured on: `figures.json` beside this file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.bench.rows import Row

FILE = Path(__file__).with_name("figures.json")
_KIB = 1024


def load() -> dict[str, dict[str, Any]]:
    """By work: value, unit, date, commit, machine."""
    if not FILE.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text())
    return found


def save(rows: Iterable[Row]) -> None:
    """Replace the figures of these works; those of works that were not run stay."""
    figures = load()
    stamp = {"date": datetime.now(UTC).date().isoformat(), "commit": _commit(), "machine": machine()}
    for row in rows:
        figures[row.work] = {"value": row.value, "unit": row.unit, "note": row.note, **stamp}
    FILE.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def machine() -> Mapping[str, str | int]:
    """What decides figures: cores, memory, kernel, Python."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    total = next((line.split()[1] for line in _read("/proc/meminfo").splitlines() if line.startswith("MemTotal")), "0")
    return {
        "cores": os.cpu_count() or 0,
        "cpu": model,
        "memory_gib": round(int(total) / _KIB / _KIB),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=FILE.parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
