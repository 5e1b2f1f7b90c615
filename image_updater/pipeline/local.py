"""`update PATH`: a checkout or a plain folder, taken as its files stand, on the branch that is checked out.

One image-updater writes in a checkout at a time, and none overwrites what a person saved meanwhile: a file that is not
what was planned on any more makes the run plan again on what is there.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from image_updater.errors import ImageUpdaterError, SpecError
from image_updater.git import FilesChanged, access_for, write_files
from image_updater.patch.decisions import State
from image_updater.patch.overlay import OverlayTree
from image_updater.pipeline.commits import committable, message_for, signer_for
from image_updater.pipeline.line import Line, Run, default_automation, moved_sites, relabel, run
from image_updater.pipeline.people.past import Past
from image_updater.pipeline.progress import Done
from image_updater.pipeline.report import CommitReport, Mode, UpdateReport
from image_updater.pipeline.trees import open_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from image_updater.api.model import ImageUpdateAutomation, ObjectKey
    from image_updater.git import Checkout
    from image_updater.kustomize.model import Tree
    from image_updater.patch.decisions import Decision
    from image_updater.pipeline.message import Message
    from image_updater.pipeline.report import UpdateRequest
    from image_updater.pipeline.trees import Opened

TRIES = 5
"""Plans on files that somebody else keeps changing."""


async def update_path(request: UpdateRequest, line: Line, path: Path) -> UpdateReport:
    """Raises SpecError, and CheckoutError for a checkout that can take no commit; the rest is in the report."""
    opened = await asyncio.to_thread(open_path, path)
    _check(request, opened)
    with ExitStack() as stack:
        if request.mode is not Mode.DRY_RUN:
            await asyncio.to_thread(stack.enter_context, opened.writing())
        work = _Local(request=request, line=replace(line, focus=opened.focus), done=Done(focus=opened.focus))
        while not await work.attempt(await asyncio.to_thread(open_path, path)):
            request.progress("files changed: planning again")
        return work.report()


def _check(request: UpdateRequest, opened: Opened) -> None:
    checkout = opened.checkout
    writes = request.mode in (Mode.COMMIT, Mode.PUSH)
    if checkout is None and writes:
        raise SpecError(f"{opened.root} is no Git repository", remedy="without Git only --dry-run and --write work")
    if checkout is not None and request.branch not in (None, checkout.branch):
        raise SpecError(
            f"the checkout is on {checkout.branch or 'no branch'}, not on {request.branch}",
            remedy=f"git switch {request.branch}",
        )
    if checkout is not None and writes:
        committable(checkout, push=request.mode is Mode.PUSH)
        for automation in request.objects.automations:
            signer_for(automation, request.secrets)


def _past(line: Line, checkout: Checkout | None) -> Past | None:
    head = checkout.head if checkout is not None else None
    if checkout is None or head is None:
        return None
    return Past(history=checkout.reading(head), branch=checkout.branch or "HEAD", memory=line.memory)


@dataclass(frozen=True, slots=True)
class _Ended:
    """What became of one automation."""

    run: Run
    decisions: tuple[Decision, ...] | None = None
    """In place of the plan's, where writing changed their fate."""


@dataclass(slots=True, kw_only=True)
class _Local:
    """One call of `update_path`, over all its attempts."""

    request: UpdateRequest
    line: Line
    done: Done
    ended: dict[ObjectKey, _Ended] = field(default_factory=dict)
    """Automations that are not planned again: committed, or failed at it."""
    planned: dict[ObjectKey, _Ended] = field(default_factory=dict)
    """Automations of the last attempt."""
    failed: dict[ObjectKey, ImageUpdaterError] = field(default_factory=dict)
    commit: str | None = None
    tries: int = 0

    @property
    def automations(self) -> tuple[ImageUpdateAutomation, ...]:
        objects, chosen = self.request.objects, self.request.automations
        return tuple(
            each
            for each in objects.automations or (default_automation(objects),)
            if not each.suspend and (chosen is None or each.key in chosen)
        )

    async def attempt(self, opened: Opened) -> bool:
        """Plan and write; False when it must be done again because files changed, or a commit failed."""
        self.tries += 1
        try:
            proven = await self._plan(opened)
        except FilesChanged:
            return False
        mode, checkout = self.request.mode, opened.checkout
        if mode is Mode.WRITE:
            return await self._write(opened, [result for result, _ in proven])
        if checkout is not None and mode is not Mode.DRY_RUN:
            for result, message in proven:
                if not await self._commit(checkout, result, message):
                    return False
            if mode is Mode.PUSH:
                await self._push(checkout)
        return True

    async def _plan(self, opened: Opened) -> list[tuple[Run, Message]]:
        request, checkout = self.request, opened.checkout
        locked: dict[str, str] = {}
        if checkout is not None and request.mode in (Mode.COMMIT, Mode.PUSH):
            dirty = await asyncio.to_thread(checkout.dirty)
            locked = {file: f"{file} has changes that are not committed" for file in dirty}
        head = checkout.head if checkout is not None else None

        def written(file: str, tag: str) -> datetime | None:
            return checkout.when_written(head, file, tag) if checkout is not None and head is not None else None

        revision = f"{checkout.branch or 'HEAD'}@sha1:{head}" if checkout is not None and head is not None else None
        self.planned, self.failed = {}, {}
        proven: list[tuple[Run, Message]] = []
        files: dict[str, bytes] = {}
        settled: dict[str, str] = {}
        for ended in self.ended.values():
            settled |= moved_sites(ended.run)
        tree: Tree = opened.tree
        for automation in self.automations:
            if automation.key in self.ended:
                continue
            request.progress(f"{automation.key}: planning")
            try:
                result = await run(
                    self.line,
                    automation,
                    request.objects,
                    tree,
                    locked=locked,
                    settled=settled,
                    written=written,
                    past=_past(self.line, checkout),
                )
            except SpecError:
                raise
            except ImageUpdaterError as exc:
                if isinstance(exc, FilesChanged) and self.tries < TRIES:
                    raise
                self.failed[automation.key] = exc
                continue
            # What the files held is still to be compared and shown when they hold something else.
            result = replace(result, tree=OverlayTree(result.tree, _contents(result.tree, result.files)))
            self.planned[automation.key] = _Ended(result)
            if result.files:
                proven.append((result, await message_for(result, revision=revision, renderer=self.line.renderer)))
                files |= result.files
                settled |= moved_sites(result)
                tree = OverlayTree(opened.tree, files)
        return proven

    # ------------------------------------------------------------------------------------------------- writing

    async def _write(self, opened: Opened, runs: list[Run]) -> bool:
        files = {path: data for result in runs for path, data in result.files.items()}
        if not files:
            return True
        expected: dict[str, bytes] = {}
        for result in reversed(runs):
            expected |= _contents(result.tree, result.files)
        try:
            await asyncio.to_thread(write_files, opened.root, files, expected=expected)
        except FilesChanged as exc:
            if self.tries < TRIES:
                return False
            for result in runs:
                self._fail(result, exc)
        return True

    async def _commit(self, checkout: Checkout, result: Run, message: Message) -> bool:
        automation = result.automation
        try:
            self.commit = await asyncio.to_thread(
                checkout.commit,
                result.files,
                str(message),
                automation.commit.author,
                signer_for(automation, self.request.secrets),
                self.request.now,
                expected=_contents(result.tree, result.files),
            )
        except SpecError:
            raise
        except ImageUpdaterError as exc:
            if not isinstance(exc, FilesChanged) or self.tries >= TRIES:
                self._fail(result, exc)
            return False
        self.ended[automation.key] = _Ended(result)
        self.done.commits.append(
            CommitReport(
                repository=str(checkout.root),
                branch=checkout.branch or "HEAD",
                commit=self.commit,
                automation=str(automation.key),
                subject=message.subject,
                pushed=False,
            )
        )
        return True

    def _fail(self, result: Run, error: ImageUpdaterError) -> None:
        key = result.automation.key
        self.done.fail(str(key), error)
        self.ended[key] = _Ended(
            replace(result, edits=(), files={}), relabel(result.plan.decisions, State.REFUSED, error.message)
        )

    async def _push(self, checkout: Checkout) -> None:
        """Push what was committed, now or by a run that did not get that far."""
        made = {each.commit for each in self.done.commits}
        waiting = [each for each in await asyncio.to_thread(checkout.unpushed) if each.id not in made]
        ours = [(each, dict(each.trailers)) for each in waiting if "Automation" in dict(each.trailers)]
        if not made and not ours:
            return
        self.request.progress("pushing")
        try:
            await checkout.push(access_for(None, self.request.secrets, self.request.environment))
        except ImageUpdaterError as exc:
            self.done.fail(str(checkout.root), exc)
            reason = f"committed here, but the push failed: {exc.message}"
            for key, ended in self.ended.items():
                decisions = ended.run.plan.decisions if ended.decisions is None else ended.decisions
                self.ended[key] = replace(ended, decisions=relabel(decisions, State.UPDATED, reason))
            return
        earlier = [
            CommitReport(
                repository=str(checkout.root),
                branch=checkout.branch or "HEAD",
                commit=each.id,
                automation=trailers["Automation"],
                subject=each.subject,
                pushed=True,
            )
            for each, trailers in reversed(ours)
        ]
        self.done.commits = [*earlier, *(replace(each, pushed=True) for each in self.done.commits)]

    def report(self) -> UpdateReport:
        for automation in self.automations:
            key = automation.key
            ended = self.ended.get(key) or self.planned.get(key)
            if ended is not None:
                self.done.note(ended.run, ended.decisions)
            elif key in self.failed:
                self.done.fail(str(key), self.failed[key])
        return self.done.report(commit=self.commit)


def _contents(tree: Tree, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What the files hold where they were planned on."""
    known = tree.files()
    return {path: tree.read(path) for path in files if path in known}
