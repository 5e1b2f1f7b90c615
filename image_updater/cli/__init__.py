"""The command line: one file a command, and nothing imported before it is needed (`--help` answers in under 150 ms).

Commands read flags into values, call the pipeline and print what comes back; no decision is made here. Exit codes:
0 done or nothing to do, 1 failed, 2 usage or invalid input, 3 with `--dry-run`: there are changes.
"""

from __future__ import annotations


def main() -> None:
    """The entry point; always ends the process with one of the documented exit codes."""
    import gc

    from image_updater.cli.app import run

    # Located repositories and judged lists are large graphs without cycles: at the default thresholds the collector
    # walks them again and again and finds nothing.
    gc.set_threshold(50_000, 20, 50)
    raise SystemExit(run())
