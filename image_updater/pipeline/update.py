"""`image-updater update`: the line over a path, over a URL, or over every repository that the automations name.

A path is taken as its files stand and on the branch checked out. A URL or a GitRepository is a bare mirror
(`remote.py`).
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.errors import ImageUpdaterError, SpecError
from image_updater.git import access_for, write_files
from image_updater.patch.decisions import State
from image_updater.patch.overlay import OverlayTree
from image_updater.pipeline.commits import check_templates, committable, message_for, signer_for
from image_updater.pipeline.line import Line, Run, default_automation, moved_sites, relabel, run
from image_updater.pipeline.progress import Done
from image_updater.pipeline.remote import update_remote
from image_updater.pipeline.report import CommitReport, Mode, UpdateReport
from image_updater.pipeline.selection import make_selector
from image_updater.pipeline.session import named_roots, session
from image_updater.pipeline.targets import is_url
from image_updater.pipeline.trees import open_path

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.api.model import ImageUpdateAutomation
    from image_updater.git import Checkout
    from image_updater.kustomize.model import Tree
    from image_updater.pipeline.message import Message
    from image_updater.pipeline.report import UpdateRequest


async def update(request: UpdateRequest) -> UpdateReport:
    """Run the line.

    Raises SpecError for invalid input, before anything is written; failures of registries, Git and builds are in
    the report.
    """
    with ExitStack() as stack:
        opened = request.session or stack.enter_context(session(request.settings, request.environment))
        async with make_selector(request, opened.store) as selector:
            line = Line(
                selector=selector,
                renderer=opened.renderer,
                cache=opened.facts,
                named=named_roots(request.objects, request.roots),
                anywhere=not request.objects.automations,
            )
            await check_templates(request.objects.automations)
            if request.target is not None and not is_url(request.target):
                return await _update_path(request, line, Path(request.target))
            return await update_remote(request, line, opened.mirrors)


async def _update_path(request: UpdateRequest, line: Line, path: Path) -> UpdateReport:
    opened = await asyncio.to_thread(open_path, path)
    checkout, original = opened.checkout, opened.tree
    writes = request.mode in (Mode.COMMIT, Mode.PUSH)
    if checkout is None and writes:
        raise SpecError(f"{path} is no Git repository", remedy="without Git only --dry-run and --write work")
    if checkout is not None and request.branch not in (None, checkout.branch):
        raise SpecError(
            f"the checkout is on {checkout.branch or 'no branch'}, not on {request.branch}",
            remedy=f"git switch {request.branch}",
        )
    locked: dict[str, str] = {}
    if checkout is not None and writes:
        committable(checkout, push=request.mode is Mode.PUSH)
        locked = {file: f"{file} has changes that are not committed" for file in checkout.dirty()}
    automations = request.objects.automations or (default_automation(request.objects),)
    if writes:
        for automation in automations:
            signer_for(automation, request.secrets)
    done = Done(focus=opened.focus)
    head = checkout.head if checkout is not None else None

    def written(file: str, tag: str) -> datetime | None:
        return checkout.when_written(head, file, tag) if checkout is not None and head is not None else None

    revision = f"{checkout.branch or 'HEAD'}@sha1:{checkout.head}" if checkout is not None and checkout.head else None

    proven: list[tuple[Run, Message]] = []
    files: dict[str, bytes] = {}
    settled: dict[str, str] = {}
    tree: Tree = original
    for automation in automations:
        if automation.suspend or (request.automations is not None and automation.key not in request.automations):
            continue
        request.progress(f"{automation.key}: planning")
        try:
            result = await run(
                replace(line, focus=opened.focus),
                automation,
                request.objects,
                tree,
                locked=locked,
                settled=settled,
                written=written,
            )
        except SpecError:
            raise
        except ImageUpdaterError as exc:
            done.fail(str(automation.key), exc)
            continue
        done.note(result)
        if result.files:
            proven.append((result, await message_for(result, revision=revision, renderer=line.renderer)))
            files |= result.files
            settled |= moved_sites(result)
            tree = OverlayTree(original, files)
    commit: str | None = None
    if files and request.mode is Mode.WRITE:
        await asyncio.to_thread(write_files, opened.root, files)
    elif proven and checkout is not None and writes:
        commit = await _commit(request, checkout, proven, done)
    return done.report(commit=commit)


async def _commit(
    request: UpdateRequest, checkout: Checkout, proven: list[tuple[Run, Message]], done: Done
) -> str | None:
    commit: str | None = None
    for result, message in proven:
        automation: ImageUpdateAutomation = result.automation
        commit = await asyncio.to_thread(
            checkout.commit,
            result.files,
            str(message),
            automation.commit.author,
            signer_for(automation, request.secrets),
            request.now,
        )
        done.commits.append(
            CommitReport(
                repository=str(checkout.root),
                branch=checkout.branch or "HEAD",
                commit=commit,
                automation=str(automation.key),
                subject=message.subject,
                pushed=False,
            )
        )
    if request.mode is Mode.PUSH:
        request.progress("pushing")
        try:
            await checkout.push(access_for(None, request.secrets, request.environment))
        except ImageUpdaterError as exc:
            done.fail(str(checkout.root), exc)
            done.decisions = list(
                relabel(done.decisions, State.UPDATED, f"committed here, but the push failed: {exc.message}")
            )
        else:
            done.commits = [replace(each, pushed=True) for each in done.commits]
    return commit
