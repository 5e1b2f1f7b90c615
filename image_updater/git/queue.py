"""The one writer of a branch: what waits is written together, one commit a work, one push with a lease.

A lost race is no rebase: the branch is fetched and every plan is asked again on what is there now; a plan that has
nothing left to do is done. After a push whose answer was lost, the next fetch tells whether it landed, so that nothing
is written twice. When a hook refuses several works, each is pushed alone and only the offender fails. Works of
different credential identities never share a push.
"""

from __future__ import annotations

import asyncio
import random as _random
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby

from image_updater.api.model import Author
from image_updater.errors import ImageUpdaterError, Waiting
from image_updater.git.access import GitAccess
from image_updater.git.commits import CommitInfo, Signer
from image_updater.git.errors import BranchNotFound, GitUnavailable, PushRaced, PushRefused, TreeRefused
from image_updater.git.mirror import Mirror, Tip

_BASE_DEPTH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What one work wants written on the tip it was shown: one commit."""

    files: Mapping[str, bytes | None]
    message: str
    author: Author
    signer: Signer | None = field(default=None, repr=False)


Plan = Callable[[Tip], Awaitable[Planned | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Someone's wish to write. `plan` may be called many times, each time on a newer tip; None = nothing to do.

    `key` names it in attempts; `identity` decides what may be pushed together; `access` is used for the push (default:
    the mirror's); `verify` judges every tip that was fetched before anything is planned on it, and raises (a commit
    that is not signed as it must be): the work ends with that error.
    """

    key: str
    plan: Plan
    identity: str = ""
    access: GitAccess | None = None
    verify: Callable[[Tip], object] | None = None

    @property
    def who(self) -> str:
        return self.identity or (self.access.identity if self.access else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try, for people: what happened and why it was not the last."""

    number: int
    works: tuple[str, ...]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`commit` is on the server; None with no error = nothing to do. `history` holds the tries before the last one.
    `stood`: it was there already (a push branch that waits to be merged), and nothing was pushed.
    """

    commit: str | None = None
    attempts: int = 0
    error: ImageUpdaterError | None = None
    history: tuple[Attempt, ...] = ()
    stood: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often to try: lost races are normal where many write, a silent server is not. Seconds."""

    races: int = 60
    outages: int = 4
    first_pause: float = 0.02
    longest_pause: float = 1.0
    outage_pause: float = 0.5


class NotLeader(Waiting):
    """Not pushed: the Lease is not ours for as long as a push takes, or another shard has the branch."""

    reason = "NotLeader"


def _has_trailer(commit: CommitInfo) -> bool:
    """Our commits name their automation."""
    return any(key == "Automation" for key, _ in commit.trailers)


@dataclass(slots=True, eq=False)
class _Item:
    work: Work
    future: asyncio.Future[Outcome]
    tried: list[str] = field(default_factory=list)
    """Commits of this work that were sent without a clear answer."""


class WriterQueue:
    """See the module. One per (normalised URL, branch); `submit` from any task of one event loop.

    `base`: plan on this branch and rebuild `branch` from it (leased; stops when `ours` says that a commit on it is a
    person's).
    `may_push`: asked before each push; False ends the work with NotLeader.
    `guard`: held around each push (a Lease of the branch); what it gives must be True, too.
    """

    def __init__(
        self,
        mirror: Mirror,
        branch: str,
        *,
        base: str | None = None,
        ours: Callable[[CommitInfo], bool] | None = None,
        may_push: Callable[[], bool] = lambda: True,
        guard: Callable[[], AbstractAsyncContextManager[bool]] = lambda: nullcontext(True),
        limits: Limits | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = _random.random,
        on_attempt: Callable[[Attempt], None] | None = None,
    ) -> None:
        self.mirror = mirror
        self.branch = branch
        self.base = base if base != branch else None
        self._ours = ours or _has_trailer
        self._may_push = may_push
        self._guard = guard
        self._limits = limits or Limits()
        self._now = now
        self._sleep = sleep
        self._random = random
        self._on_attempt = on_attempt
        self._waiting: list[_Item] = []
        self._runner: asyncio.Task[None] | None = None
        self._standing: dict[str, Work] = {}
        """With `base`: the works whose commits the rebuilt branch holds; a rebuild for one of them must not drop the
        others.
        """
        self._left: str | None = None
        """The commit that our last push left on the branch, until anything else is heard of it."""
        self.pushes = 0

    async def submit(self, work: Work) -> Outcome:
        """Plan, commit and push `work`, together with what else waits. Errors that a user may see are in the outcome;
        bugs are raised.
        """
        item = _Item(work, asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._drain(), name=f"writer {self.mirror.key} {self.branch}")
        return await item.future

    @property
    def remembers(self) -> bool:
        """Works that stand on a branch which is rebuilt: another queue would not know them."""
        return bool(self._standing)

    def retain(self, keys: Container[str]) -> None:
        """Only works of these keys still stand: the commits of others (an automation that is gone, or suspended) leave
        the branch when it is rebuilt next.
        """
        self._standing = {key: work for key, work in self._standing.items() if key in keys}

    async def close(self) -> None:
        """Wait until everything submitted is done."""
        while self._runner is not None and not self._runner.done():
            await asyncio.wait({self._runner})

    async def _drain(self) -> None:
        # Whoever is submitted in this turn of the loop comes along.
        await asyncio.sleep(0)
        while self._waiting:
            batch, self._waiting = self._waiting, []
            batch = [item for item in batch if not item.future.done()]
            batch.sort(key=lambda item: item.work.who)
            for _, group in groupby(batch, key=lambda item: item.work.who):
                items = self._with_standing(list(group))
                try:
                    await self._land(items)
                except BaseException as exc:
                    # A bug or a cancellation must reach those who wait, and must not stop the queue for the others.
                    for item in items:
                        if not item.future.done():
                            if isinstance(exc, Exception):
                                item.future.set_exception(exc)
                            else:
                                item.future.cancel()
                    if not isinstance(exc, Exception):
                        for item in [*batch, *self._waiting]:
                            item.future.cancel()
                        raise

    def _with_standing(self, items: list[_Item]) -> list[_Item]:
        if self.base is None:
            return items
        who, keys = items[0].work.who, {item.work.key for item in items}
        loop = asyncio.get_running_loop()
        kept = [w for w in self._standing.values() if w.who == who and w.key not in keys]
        self._standing.update({item.work.key: item.work for item in items})
        again = [_Item(work, loop.create_future()) for work in kept]
        for item in again:
            # Nobody waits for these: their submitters were answered long ago, and hear of an error when
            # they submit again.
            item.future.add_done_callback(lambda future: future.cancelled() or future.exception())
        return [*again, *items]

    # -- one group

    async def _land(self, items: Sequence[_Item]) -> None:
        """Bring the works of one identity to the server, or end each with its error."""
        history: list[Attempt] = []
        races = outages = number = 0
        access = items[0].work.access
        open_items = [item for item in items if not item.future.done()]
        while open_items:
            number += 1
            try:
                refused = await self._attempt(open_items, number, access, history)
            except PushRaced as exc:
                races += 1
                self._note(history, number, open_items, exc)
                if races >= self._limits.races:
                    self._finish(open_items, number, history, exc)
                    return
                await self._pause(min(self._limits.first_pause * 2 ** min(races, 10), self._limits.longest_pause))
            except GitUnavailable as exc:
                outages += 1
                self._note(history, number, open_items, exc)
                if outages >= self._limits.outages:
                    self._finish(open_items, number, history, exc)
                    return
                await self._pause(self._limits.outage_pause * 2 ** (outages - 1))
            except ImageUpdaterError as exc:
                self._finish(open_items, number, history, exc)
                return
            else:
                if refused is not None:
                    self._note(history, number, open_items, refused)
                    for item in open_items:
                        await self._land([item])
            open_items = [item for item in open_items if not item.future.done()]

    async def _attempt(
        self, items: Sequence[_Item], number: int, access: GitAccess | None, history: list[Attempt]
    ) -> PushRefused | None:
        """Fetch, plan, commit, push. A refusal of several commits is returned; that of a single one is its outcome.

        Right after a push of ours the branch is most likely as we left it: then the plan is made on that, without a
        fetch, and nothing is final before the push's lease (or, where nothing is to be written, a fetch) confirms it.
        """
        guess = self._guess(items) if number == 1 else None
        self._left = None
        start, expected, previous = guess or await self._start(access)
        ends: list[tuple[_Item, Outcome | Exception]] = []
        for item in items:
            # Did an earlier push land although its answer was lost?
            for sent in item.tried:
                if expected is not None and self.mirror.contains(expected, sent):
                    self._done(item, Outcome(commit=sent, attempts=number, history=tuple(history)))
        tip = start
        written: list[tuple[_Item, str]] = []
        for item in items:
            if item.future.done():
                continue
            try:
                if item.work.verify is not None:
                    # The fetched tip, not ours on top of it: what we are about to write needs no approval.
                    item.work.verify(start)
                commit = await self._write(item.work, tip)
            except (PushRaced, GitUnavailable):
                raise
            except ImageUpdaterError as exc:
                ends.append((item, Outcome(attempts=number, error=exc, history=tuple(history))))
                continue
            except Exception as exc:
                ends.append((item, exc))
                continue
            if commit is None:
                ends.append((item, Outcome(attempts=number, history=tuple(history))))
                continue
            tip = Tip(commit=commit, tree=self.mirror.tree(commit), branch=self.branch)
            written.append((item, commit))
        if guess is None:
            self._end(ends)
        elif not written:
            seen = await self._start(access)
            if seen[1] != expected:
                return await self._attempt(items, number, access, history)
            self._end(ends)
        if not written:
            return None
        if (
            previous is not None
            and previous.tree.id == tip.tree.id
            and self.mirror.contains(previous.commit, start.commit)
        ):
            # The rebuilt branch would hold the same files on the same base: what is there stays, and
            # reviews keep their place.
            for item, _ in written:
                self._done(item, Outcome(commit=previous.commit, attempts=number, history=tuple(history), stood=True))
            return None
        try:
            async with self._guard() as ours:
                if not ours or not self._may_push():
                    raise NotLeader("another instance writes here now: nothing was pushed", remedy="that one does it")
                self.pushes += 1
                await self.mirror.push(
                    tip.commit, self.branch, expected=expected, access=access, force=self.base is not None
                )
        except PushRaced:
            if guess is None:
                raise
            # Nobody raced us: somebody had written before, and now it is fetched.
            return await self._attempt(items, number, access, history)
        except PushRefused as exc:
            self._end(ends)
            if len(written) > 1:
                return exc
            for item, _ in written:
                self._done(item, Outcome(attempts=number, error=exc, history=tuple(history)))
            return None
        except GitUnavailable:
            for item, commit in written:
                item.tried.append(commit)
            raise
        self._end(ends)
        for item, commit in written:
            self._done(item, Outcome(commit=commit, attempts=number, history=tuple(history)))
        self._left = tip.commit if self.base is None else None
        return None

    def _guess(self, items: Sequence[_Item]) -> tuple[Tip, str, None] | None:
        """The branch as our last push left it; None when that is not known, or another push of ours may be on it."""
        if self._left is None or any(item.tried for item in items):
            return None
        try:
            tree = self.mirror.tree(self._left)
        except ImageUpdaterError:
            # The mirror was made anew: a fetch tells.
            return None
        return Tip(commit=self._left, tree=tree, branch=self.branch), self._left, None

    async def _start(self, access: GitAccess | None) -> tuple[Tip, str | None, Tip | None]:
        """The tip to plan on, the push branch's current commit for the lease, and that branch's tip where it is
        rebuilt.
        """
        if self.base is None:
            tip = await self.mirror.fetch(self.branch, access=access)
            return tip, tip.commit, None
        start = await self.mirror.fetch(self.base, access=access)
        try:
            current = await self.mirror.fetch(self.branch, access=access)
        except BranchNotFound:
            return start, None, None
        foreign = self._foreign(current, start)
        if foreign is not None:
            # A branch rebuilt long ago forks off below what was fetched of the base: then the base's own
            # commits look foreign.
            start = await self.mirror.fetch(self.base, depth=_BASE_DEPTH, access=access)
            foreign = self._foreign(current, start)
        if foreign is not None:
            raise TreeRefused(
                f"{self.branch} holds a commit by {foreign.author.name} ({foreign.id[:12]} {foreign.subject!r})",
                remedy=f"merge it, or delete {self.branch}: a person's commit is never overwritten",
            )
        return start, current.commit, current

    def _foreign(self, current: Tip, base: Tip) -> CommitInfo | None:
        """The newest commit of the push branch that is neither ours nor the base's."""
        found = self.mirror.history(current.commit, stop=base.commit)
        return next((commit for commit in found if not self._ours(commit)), None)

    async def _write(self, work: Work, tip: Tip) -> str | None:
        planned = await work.plan(tip)
        if planned is None or not planned.files:
            return None
        commit = await self.mirror.commit(
            tip.commit, planned.files, planned.message, planned.author, planned.signer, self._now()
        )
        return None if commit == tip.commit else commit

    # -- small parts

    async def _pause(self, longest: float) -> None:
        """Full jitter: writers that lost to each other must not meet again."""
        await self._sleep(longest * self._random())

    def _note(self, history: list[Attempt], number: int, items: Sequence[_Item], exc: ImageUpdaterError) -> None:
        attempt = Attempt(
            number=number,
            works=tuple(i.work.key for i in items if not i.future.done()),
            reason=exc.reason,
            message=exc.message,
        )
        history.append(attempt)
        if self._on_attempt is not None:
            self._on_attempt(attempt)

    def _finish(self, items: Sequence[_Item], number: int, history: Sequence[Attempt], exc: ImageUpdaterError) -> None:
        for item in items:
            self._done(item, Outcome(attempts=number, error=exc, history=tuple(history)))

    @staticmethod
    def _end(ends: Sequence[tuple[_Item, Outcome | Exception]]) -> None:
        for item, end in ends:
            if item.future.done():
                continue
            if isinstance(end, Outcome):
                item.future.set_result(end)
            else:
                item.future.set_exception(end)

    @staticmethod
    def _done(item: _Item, outcome: Outcome) -> None:
        if not item.future.done():
            item.future.set_result(outcome)
