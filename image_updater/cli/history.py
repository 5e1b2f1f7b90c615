"""`image-updater history`: how far each tag of a policy came, and how long it took from the registry to a healthy
rollout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from image_updater.cli import asking, options
from image_updater.cli.failing import DONE, Command

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from image_updater.pipeline.people.standing import Standing
    from image_updater.store import Milestone

_STAGES = ("pushed", "seen", "eligible", "committed", "applied", "healthy", "failed")


@click.command(cls=Command)
@asking.policy
@click.option(
    "--limit", type=click.IntRange(1, 500), metavar="NUMBER", default=20, show_default=True, help="Rows, newest first."
)
@options.output("text", "json")
@options.settings("color")
def command(place: asking.Place, policy: str, limit: int, output: str, **flags: Any) -> int:
    """Show how far each tag of POLICY came, and how long it took from the push to a healthy rollout.

    A row for each tag and each Kustomization that applied it. In a cluster they come from the status of the ImagePolicy
    (the last 20), with --state from all that the file keeps.
    """
    standing = asking.find(place, policy)
    rows = standing.milestones[:limit]
    if output == "json":
        from image_updater.cli.output import print_json

        print_json({"policy": standing.policy, "chosen": standing.tag, "tags": [_json(each) for each in rows]})
        return DONE
    settings = options.load_settings(flags)
    _show(standing, rows, settings.color)
    return DONE


def _json(each: Milestone) -> dict[str, Any]:
    from image_updater.api.moments import format_rfc3339

    moments = {name: getattr(each, name) for name in _STAGES}
    lead = each.lead_time
    return {
        "tag": each.tag,
        "digest": each.digest,
        "environment": each.environment or None,
        **{name: format_rfc3339(moment) if moment is not None else None for name, moment in moments.items()},
        "withdrawn": each.withdrawn is not None,
        "leadTimeSeconds": round(lead.total_seconds()) if lead is not None else None,
        "revision": each.revision,
        "commit": each.commit,
    }


def _show(standing: Standing, rows: tuple[Milestone, ...], color: str) -> None:
    from image_updater.cli.output import console, table

    out = console(color)
    chosen = f"{standing.tag} is chosen" if standing.tag else "nothing is chosen"
    out.print(f"{standing.policy}: {chosen}")
    if not rows:
        out.print("  nothing is known of its tags yet: `run`, or the controller, notes it from its first commit on")
        return
    head = ("TAG", "ENVIRONMENT", "SEEN", "COMMITTED", "APPLIED", "OUTCOME", "PUSH → HEALTHY")
    table(out, [head, *(_row(each) for each in rows)], styles=("bold",))


def _row(each: Milestone) -> tuple[str, ...]:
    lead = each.lead_time
    return (
        each.tag,
        each.environment or "-",
        _at(each.begun),
        _at(each.committed),
        _at(each.applied),
        _outcome(each),
        span(lead) if lead is not None else "-",
    )


def _outcome(each: Milestone) -> str:
    if each.withdrawn is not None:
        return f"failed {_at(each.withdrawn)}, was healthy {_at(each.healthy)}"
    if each.healthy is not None:
        return f"healthy {_at(each.healthy)}"
    if each.failed is not None:
        return f"failed {_at(each.failed)}"
    if each.applied is not None:
        return "rolling out"
    if each.committed is not None:
        return "committed"
    return "eligible" if each.eligible is not None else "waiting"


def _at(moment: datetime | None) -> str:
    return asking.shown(moment) if moment is not None else "-"


def span(value: timedelta) -> str:
    """`2d 3h`, `1h 5m`, `4m 10s`, `9s`: two units."""
    seconds = round(value.total_seconds())
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    parts = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{name}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0s"
