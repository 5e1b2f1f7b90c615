"""`image-updater replay`: what policies would have committed over a past time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from image_updater.cli import asking, options
from image_updater.cli.failing import DONE, Command
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from image_updater.api.model import Objects
    from image_updater.pipeline.replay.simulation import Commit, Replayed

_DAYS = re.compile(r"(\d{1,5})([dw])\Z")
_SHOWN = 40
"""Commits of one policy that text shows, the last ones."""


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> datetime | timedelta | None:
    """A time, or how long ago: `90d`, `2w`, `36h`."""
    if value is None:
        return None
    from image_updater.api.durations import parse_duration
    from image_updater.api.moments import parse_rfc3339

    if (days := _DAYS.match(value)) is not None:
        return timedelta(days=int(days[1]) * (7 if days[2] == "w" else 1))
    try:
        return parse_duration(value)
    except ValueError:
        try:
            return parse_rfc3339(value)
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is neither how long ago (90d, 2w, 36h) nor a time such as 2024-05-01T12:00:00Z"
            ) from None


@click.command(cls=Command)
@options.objects
@click.option("--policy", metavar="NAME", help="Only this policy: NAME or NAMESPACE/NAME.")
@click.option(
    "--since",
    metavar="TIME|AGO",
    default="90d",
    show_default=True,
    callback=_moment,
    help="From when: 90d, 36h, a time.",
)
@click.option("--until", metavar="TIME|AGO", callback=_moment, help="Until when (default: now).")
@click.option(
    "--against", "others", multiple=True, metavar="FILE", help="Policies to compare with, side by side. Repeatable."
)
@click.option("--assume-approved", is_flag=True, help="As if people had agreed to everything at once.")
@options.tags
@options.output("text", "json")
@options.settings("color", "state")
def command(
    files: tuple[str, ...],
    policy: str | None,
    since: datetime | timedelta,
    until: datetime | timedelta | None,
    others: tuple[str, ...],
    assume_approved: bool,
    tags_file: Path | None,
    output: str,
    **flags: Any,
) -> int:
    """Show what policies would have committed over a past time: which tags, when, and why.

    The same judgement and the same gates, with a simulated clock, over the tags that a state file has seen (--state),
    or that a file lists with their creation dates (--tags). So a policy can be judged before it is merged. Nobody is
    asked, nothing is written.
    """
    if not files:
        raise click.UsageError("give the policies with -f FILE")
    settings = options.load_settings(flags)
    if tags_file is not None and flags.get("state") is not None:
        raise click.UsageError("--tags and --state are two histories: give one of them")
    if tags_file is None and settings.state is None:
        raise click.UsageError("give the history: --state FILE of a `run`, or --tags FILE with creation dates")
    now = datetime.now(UTC)
    end = _at(until, now) if until is not None else now
    begin = _at(since, now)
    if begin >= end:
        raise click.UsageError(f"--since {asking.shown(begin)} is not before --until {asking.shown(end)}")
    ours = _chosen(options.load_objects(files), policy, files)
    theirs = _chosen(options.load_objects(others), policy, others) if others else None

    from image_updater.cli.output import console, print_json

    both = []
    for objects in (ours, theirs):
        if objects is not None:
            past = _past(objects, settings.state, tags_file)
            both.append(_replay(objects, past, begin, end, policy, assume_approved=assume_approved))
    if output == "json":
        document: dict[str, Any] = {
            "since": asking.rfc3339(begin),
            "until": asking.rfc3339(end),
            "policies": [_policy_json(each) for each in both[0]],
        }
        if theirs is not None:
            document["against"] = [_policy_json(each) for each in both[1]]
        print_json(document)
        return DONE
    out = console(settings.color)
    out.print(f"{asking.shown(begin)} to {asking.shown(end)}")
    if theirs is None:
        for each in both[0]:
            _show(out, each)
    else:
        _compare(out, both[0], both[1])
    return DONE


def _at(value: datetime | timedelta, now: datetime) -> datetime:
    return value if isinstance(value, datetime) else now - value


def _chosen(objects: Objects, policy: str | None, files: Sequence[str]) -> Objects:
    """All of the objects; an unknown name is refused. What a policy waits for is replayed with it."""
    if policy is None:
        return objects
    names = [str(each.key) for each in objects.policies]
    if policy not in names and policy not in [name.rpartition("/")[2] for name in names]:
        from image_updater.api.decode import did_you_mean

        raise SpecError(
            f"there is no ImagePolicy {policy}",
            where=Where(file=", ".join(files)),
            remedy=did_you_mean(policy, names, what="known"),
        )
    return objects


def _past(objects: Objects, state: Path | None, tags_file: Path | None) -> Any:
    from image_updater.pipeline.replay import remembering

    tags = options.load_tags(tags_file)
    if tags is not None:
        return remembering.from_file(tags, objects)
    from image_updater.store import Store

    assert state is not None
    asking.check_state(state)
    with Store.open(state) as store:
        return remembering.from_store(store, objects)


def _replay(
    objects: Objects, past: Any, begin: datetime, end: datetime, policy: str | None, *, assume_approved: bool
) -> list[Replayed]:
    from image_updater.pipeline.replay.simulation import replay

    found = replay(objects, past, since=begin, until=end, assume_approved=assume_approved)
    return [each for each in found if policy is None or policy in (each.policy, each.policy.rpartition("/")[2])]


# ------------------------------------------------------------------------------------------- printing


def _policy_json(each: Replayed) -> dict[str, Any]:
    return {
        "policy": each.policy,
        "image": each.image,
        "start": each.start,
        "end": each.end,
        "deploys": len(each.commits),
        "commits": [
            {
                "at": asking.rfc3339(commit.at),
                "tag": commit.tag,
                "digest": commit.digest,
                "before": commit.before,
                "reason": commit.reason,
                "appeared": asking.rfc3339(commit.appeared),
                "waitedSeconds": round(commit.waited.total_seconds()) if commit.waited is not None else None,
                "heldBy": list(commit.held_by),
            }
            for commit in each.commits
        ],
        "passedOver": list(each.passed_over),
        "waiting": {"tag": each.waiting.tag, "reason": each.waiting.reason, "until": asking.rfc3339(each.waiting.until)}
        if each.waiting is not None
        else None,
        "notes": list(each.notes),
    }


def _show(out: Console, each: Replayed) -> None:
    from image_updater.cli.output import table

    out.print(f"\n{each.policy}: {_deploys(each)}, {_way(each)}", style="bold")
    rows = [(asking.shown(commit.at), commit.tag, _why(commit)) for commit in each.commits]
    if len(rows) > _SHOWN:
        out.print(f"  … {len(rows) - _SHOWN} earlier ones (-o json has them)")
    table(out, rows[-_SHOWN:], styles=("dim", "bold"))
    _tail(out, each)


def _tail(out: Console, each: Replayed) -> None:
    from image_updater.cli.output import printable

    if each.passed_over:
        some = ", ".join(each.passed_over[:10]) + (", …" if len(each.passed_over) > 10 else "")
        out.print(f"  passed over: {printable(some)}")
    if each.waiting is not None:
        until = f", until {asking.shown(each.waiting.until)}" if each.waiting.until is not None else ""
        out.print(f"  waits at the end{until}: {printable(each.waiting.reason)}")
    for note in each.notes:
        out.print(f"  note: {printable(note)}", style="dim")


def _deploys(each: Replayed) -> str:
    return "1 deploy" if len(each.commits) == 1 else f"{len(each.commits)} deploys"


def _way(each: Replayed) -> str:
    if not each.commits:
        return f"{each.start} all the time" if each.start else "nothing all the time"
    return f"from {each.start or 'nothing'} to {each.end}"


def _why(commit: Commit) -> str:
    from image_updater.cli.history import span

    waited = commit.waited
    text = commit.reason
    if commit.held_by:
        after = f" for {span(waited)}" if waited else ""
        text += f"; waited{after}: {', '.join(commit.held_by)}"
    return text


def _compare(out: Console, ours: Sequence[Replayed], theirs: Sequence[Replayed]) -> None:
    """Moments of both, one below the other."""
    from image_updater.cli.output import table

    other = {each.policy: each for each in theirs}
    for each in ours:
        match = other.pop(each.policy, None)
        if match is None:
            out.print(f"\n{each.policy}: only here, {_deploys(each)}", style="bold")
            _show(out, each)
            continue
        out.print(f"\n{each.policy}: {_deploys(each)} here, {_deploys(match)} there", style="bold")
        left, right = ({commit.at: commit for commit in side.commits} for side in (each, match))
        rows = [("", "HERE", "THERE"), ("at the start", each.start or "-", match.start or "-")]
        moments = sorted({*left, *right})
        if len(moments) > _SHOWN:
            out.print(f"  … {len(moments) - _SHOWN} earlier moments (-o json has them)")
        rows += [
            (asking.shown(at), left[at].tag if at in left else "", right[at].tag if at in right else "")
            for at in moments[-_SHOWN:]
        ]
        rows.append(("at the end", each.end or "-", match.end or "-"))
        table(out, rows, styles=("dim",))
        for name, side in (("here", each), ("there", match)):
            if side.passed_over or side.waiting is not None or side.notes:
                out.print(f"  {name}:")
                _tail(out, side)
    for match in other.values():
        out.print(f"\n{match.policy}: only there, {_deploys(match)}", style="bold")
        _show(out, match)
