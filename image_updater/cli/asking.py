"""What the commands for people share: hold, resume, approve, deny, rollback, history.

They leave a wish at the ImagePolicy in a cluster, with the caller's own rights, or in the state file of a `run`; the
controller, or `run`, does the rest. So each of them says what will follow.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from image_updater.cli import options
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from image_updater.api.wishes import Wish, Wishes
    from image_updater.pipeline.people.asking import Desk
    from image_updater.pipeline.people.standing import Standing

F = TypeVar("F", bound="Callable[..., Any]")

_SQLITE = b"SQLite format 3\0"
"""What every file of SQLite begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the policy is: a state file, or a cluster as a kubeconfig has it."""

    state: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked, and how it stood before and stands after."""

    before: Standing
    after: Standing
    new: Wish
    state: bool
    """Through a state file."""
    against: tuple[str, ...] = ()
    """What speaks against the tag that was asked about: clauses after "it is"."""

    @property
    def who(self) -> str:
        """Who acts on it."""
        return "`run`" if self.state else "the controller"


def policy(function: F) -> F:
    """The argument POLICY, and where it is: the command gets `policy` and `place`."""

    @functools.wraps(function)
    def command(
        *, state: Path | None, kubeconfig: Path | None, context: str | None, namespace: str | None, **rest: Any
    ) -> Any:
        if state is not None and (kubeconfig is not None or context is not None):
            raise click.UsageError("--state is a file, --kubeconfig and --context are a cluster: give one of them")
        settings = options.load_settings({"kubeconfig": kubeconfig})
        # The variable of --state is the controller's own in its pod: only the flag means a file here.
        place = Place(state=state, kubeconfig=settings.kubeconfig, context=context, namespace=namespace)
        return function(place=place, **rest)

    decorated: Any = command
    for decorate in reversed(
        (
            click.argument("policy", metavar="POLICY"),
            click.option(
                "-n",
                "--namespace",
                metavar="NAME",
                help="Namespace of the policy (default: that of the kubeconfig's context; POLICY may have its own).",
            ),
            options.settings("kubeconfig"),
            click.option("--context", metavar="NAME", help="Context of the kubeconfig (default: the current one)."),
            click.option(
                "--state",
                type=options.FILE,
                metavar="FILE",
                help="The state file of a `run`, instead of a cluster.",
            ),
        )
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]


def by(function: F) -> F:
    return click.option(
        "--by", metavar="NAME", help="Who asks (default: as the cluster knows you; with --state user@host)."
    )(function)


def find(place: Place, policy: str) -> Standing:
    """How it stands with the policy."""

    async def work() -> Standing:
        async with _desk(place) as desk:
            return await desk.find(policy)

    return asyncio.run(work())


def ask(
    place: Place,
    policy: str,
    by: str | None,
    make: Callable[[Standing, str, datetime], Wish],
    *,
    about: str | None = None,
) -> Asked:
    """`make(standing, who, now)` is the wish; it may raise SpecError for one that makes no sense. `about`: a tag, of
    which is told what speaks against it.
    """

    async def work() -> Asked:
        async with _desk(place) as desk:
            before = await desk.find(policy)
            now = datetime.now(UTC)
            new = make(before, _one_line(by) if by is not None else await desk.me(), now)
            after = await desk.ask(before.policy, new, now)
            against = await desk.against(after, about, now) if about is not None else ()
            return Asked(before=before, after=after, new=new, state=place.state is not None, against=against)

    return asyncio.run(work())


@asynccontextmanager
async def _desk(place: Place) -> AsyncIterator[Desk]:
    from image_updater.pipeline.people.asking import ClusterDesk, StateDesk

    if place.state is not None:
        from image_updater.store import Store

        check_state(place.state)
        with Store.open(place.state) as store:
            yield StateDesk(store, me=_local_user(), namespace=place.namespace)
        return
    from image_updater.cluster import Cluster, ClusterConfig

    config = ClusterConfig.load(kubeconfig=place.kubeconfig, environment=options.environment(), context=place.context)
    cluster = await Cluster.connect(config)
    try:
        yield ClusterDesk(cluster, namespace=place.namespace or config.namespace, account=config.account)
    finally:
        await cluster.close()


def check_state(file: Path) -> None:
    """Raises SpecError where that is no state file of a `run`. A wrong file is left alone: only who writes it begins a
    corrupt one anew."""
    problem = ""
    if not file.is_file():
        problem = "there is no such file"
    else:
        with file.open("rb") as opened:
            begins = opened.read(len(_SQLITE))
        if begins and begins != _SQLITE:
            problem = "is not a state file, or a corrupt one"
    if problem:
        where = Where(file=str(file), field="--state")
        raise SpecError(problem, where=where, remedy="name the --state file of a `run`")


def _local_user() -> str:
    import getpass
    import os
    import socket

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the system's list, as containers have them
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def _one_line(text: str) -> str:
    said = " ".join(text.split())
    if not said:
        raise click.BadParameter("names nobody", param_hint="--by")
    return said


# ------------------------------------------------------------------------------------------- printing


def report(asked: Asked, output: str, lines: list[str]) -> int:
    """What was asked, and what follows from it."""
    from image_updater.cli.output import print_json, printable

    for problem in asked.after.problems:
        click.echo(f"warning: {printable(problem)}", err=True)
    if output == "json":
        print_json(
            {
                "policy": asked.after.policy,
                "asked": kind_of(asked.new),
                "by": getattr(asked.new, "by", None) or None,
                "wishes": wishes_json(asked.after.wishes),
                "message": " ".join(line if line.endswith(".") else f"{line}." for line in lines),
            }
        )
    else:
        for line in lines:
            click.echo(printable(line))
    return 0


def kind_of(new: Wish) -> str:
    return type(new).__name__.removesuffix("Wish").lower()


def wishes_json(wishes: Wishes) -> dict[str, Any]:
    hold, rollback = wishes.hold, wishes.rollback
    return {
        "hold": {"reason": hold.reason, "by": hold.by or None, "at": rfc3339(hold.at), "until": rfc3339(hold.until)}
        if hold
        else None,
        "resumed": {"at": rfc3339(wishes.resumed), "by": wishes.resumed_by or None} if wishes.resumed else None,
        "approvals": [
            {"tag": each.tag, "digest": each.digest, "by": each.by or None, "at": rfc3339(each.at)}
            for each in wishes.approvals
        ],
        "denied": [
            {"what": each.what, "by": each.by or None, "at": rfc3339(each.at), "reason": each.reason or None}
            for each in wishes.denied
        ],
        "rollback": {
            "to": rollback.to,
            "by": rollback.by or None,
            "at": rfc3339(rollback.at),
            "reason": rollback.reason or None,
        }
        if rollback
        else None,
    }


def rfc3339(moment: datetime | None) -> str | None:
    from image_updater.api.moments import format_rfc3339

    return format_rfc3339(moment) if moment is not None else None


def shown(moment: datetime) -> str:
    """For people: minutes, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
