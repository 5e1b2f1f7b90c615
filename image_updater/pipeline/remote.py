"""The line over repositories that are reached by URL: bare mirrors, and one writer queue for each repository and
branch.

The queue plans on the tip it fetched and plans again when somebody was faster, so the run that is reported is that
of the plan that landed. A push branch that is not the planned branch is rebuilt from it each time, with a lease,
and a person's commit on it stops us.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from image_updater.errors import ImageUpdaterError, SecretNotFound, SpecError
from image_updater.git import MAX_COMMITS, Planned, Tip, Work, access_for, urls
from image_updater.git.verify import keys_from_secret
from image_updater.patch.decisions import Decision, State
from image_updater.patch.overlay import OverlayTree
from image_updater.pipeline.commits import check_templates, message_for, note_message, signer_for
from image_updater.pipeline.line import default_automation, moved_sites, relabel, run, tell
from image_updater.pipeline.people.past import REACH, Past, is_ours
from image_updater.pipeline.progress import Done
from image_updater.pipeline.report import CommitReport, Mode
from image_updater.pipeline.rollback.evidence import Ground
from image_updater.pipeline.session import named_roots

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.api.model import GitRepository, ImageUpdateAutomation
    from image_updater.git import CommitInfo, GitAccess, History, Mirror
    from image_updater.git.verify import TrustedKeys
    from image_updater.pipeline.line import Line, Run, Written
    from image_updater.pipeline.message import Message
    from image_updater.pipeline.mirrors import Mirrors
    from image_updater.pipeline.report import UpdateReport, UpdateRequest


ROLLBACKS, NOTES = " (rollback)", " (provenFile)"
"""Behind an automation's key: what is a work of its own."""

_LOOK_BACK = 50
"""Commits; a first fetch has no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One repository and branch with one way in, and the automations that write there."""

    url: str
    branch: str
    repository: GitRepository | None
    access: GitAccess
    keys: TrustedKeys | None
    automations: tuple[ImageUpdateAutomation, ...]

    @property
    def pinned(self) -> bool:
        """A tag or a commit is named and no branch: it can be read, never pushed to."""
        ref = self.repository.ref if self.repository is not None else None
        return not self.branch and ref is not None and bool(ref.tag or ref.commit)


@dataclass(slots=True)
class _Landed:
    """The last plan of one automation: what is reported when its push is through."""

    run: Run | None = None
    message: Message | None = None
    revision: str | None = None


async def update_remote(request: UpdateRequest, line: Line, mirrors: Mirrors) -> UpdateReport:
    """Every target, side by side; one that fails does not stop the others."""
    if request.mode in (Mode.WRITE, Mode.COMMIT):
        raise SpecError(f"--{request.mode} needs a checkout", remedy="for a URL use --dry-run or --push")
    done = Done(apart=request.apart)
    targets = find_targets(request)
    await asyncio.gather(*(_target(request, line, target, mirrors, done) for target in targets))
    return done.report()


def find_targets(request: UpdateRequest) -> list[Target]:
    """The repositories of this run. Raises SpecError: no repository, a reference that is missing, a ref that
    cannot be pushed to.
    """
    objects = request.objects
    repositories = {repository.key: repository for repository in objects.repositories}
    wanted = urls.normalise(request.target) if request.target is not None else None
    if not objects.automations:
        if request.target is None:
            raise SpecError(
                "no path, no URL, and no ImageUpdateAutomation", remedy="name a path, or give objects with -f"
            )
        found = next((r for r in objects.repositories if urls.normalise(r.url) == wanted), None)
        automation = default_automation(objects)
        return [_make(request, request.target, found, (automation,))]
    grouped: dict[tuple[str, str, str], tuple[GitRepository, list[ImageUpdateAutomation]]] = {}
    asleep = False
    for automation in objects.automations:
        if request.automations is not None and automation.key not in request.automations:
            continue
        repository = repositories.get(automation.source_ref) if automation.source_ref is not None else None
        if automation.suspend:
            asleep = asleep or (repository is not None and urls.normalise(repository.url) == wanted)
            continue
        if repository is None:
            raise SpecError(
                f"ImageUpdateAutomation {automation.key}: spec.sourceRef:"
                f" there is no GitRepository {automation.source_ref}",
                remedy="add it to the objects, or name a path",
            )
        key = urls.normalise(repository.url)
        if wanted is not None and key != wanted:
            continue
        if repository.suspend:
            asleep = True
            continue
        branch = request.branch or repository.ref.branch or ""
        entry = grouped.setdefault((key, branch, str(repository.key)), (repository, []))
        entry[1].append(automation)
    if wanted is not None and not grouped and not asleep:
        raise SpecError(
            f"no automation's GitRepository has the URL {request.target}",
            remedy="check spec.url of the GitRepository, or run it without -f",
        )
    return [_make(request, repository.url, repository, tuple(each)) for repository, each in grouped.values()]


def _make(
    request: UpdateRequest, url: str, repository: GitRepository | None, automations: tuple[ImageUpdateAutomation, ...]
) -> Target:
    access = access_for(repository, request.secrets, request.environment)
    keys = None
    if repository is not None and repository.verify is not None:
        from image_updater.api.model import ObjectKey

        name = ObjectKey(repository.key.namespace, repository.verify.secret_ref)
        secret = request.secrets(name)
        if secret is None:
            raise SecretNotFound(
                f"GitRepository {repository.key}: spec.verify.secretRef: there is no Secret {name}",
                remedy="add it with the keys to trust",
            )
        keys = keys_from_secret(secret)
    if request.mode is Mode.PUSH and not request.apart:
        for automation in automations:
            signer_for(automation, request.secrets)
    ref = repository.ref if repository is not None else None
    branch = request.branch or (ref.branch if ref is not None else None) or ""
    target = Target(url=url, branch=branch, repository=repository, access=access, keys=keys, automations=automations)
    if target.pinned and request.mode is Mode.PUSH:
        raise SpecError(
            f"GitRepository {repository.key if repository else url}: spec.ref: a tag or a commit cannot be pushed to",
            remedy="name a branch",
        )
    return target


async def _target(request: UpdateRequest, line: Line, target: Target, mirrors: Mirrors, done: Done) -> None:
    try:
        request.progress(f"fetching {urls.redact(target.url)}")
        mirror = await mirrors.open(target.url, target.access)
        if not target.branch and not target.pinned:
            target = replace(target, branch=await mirror.default_branch())
        if target.repository is not None:
            line = replace(line, named=named_roots(request.objects, request.roots, target.repository))
        if request.mode is Mode.DRY_RUN:
            await _dry_run(request, line, target, mirror, done)
        else:
            await _push(request, line, target, mirror, mirrors, done)
    except SpecError:
        raise
    except ImageUpdaterError as exc:
        done.fail(str(target.repository.key) if target.repository is not None else target.url, exc)
        if request.apart:
            for automation in target.automations:
                done.end(str(automation.key), revision=None, error=exc)


async def _dry_run(request: UpdateRequest, line: Line, target: Target, mirror: Mirror, done: Done) -> None:
    tip = await _read(target, mirror)
    _verify(target, mirror, tip)
    files: dict[str, bytes] = {}
    settled: dict[str, str] = {}
    for automation in target.automations:
        tree = OverlayTree(tip.tree, files) if files else tip.tree
        try:
            result = await run(
                line,
                automation,
                request.objects,
                tree,
                settled=settled,
                written=_history(mirror, tip),
                past=_past(line, target, mirror, tip, automation.push_branch),
            )
        except SpecError:
            raise
        except ImageUpdaterError as exc:
            done.fail(str(automation.key), exc)
            continue
        done.note(result)
        files |= result.files
        settled |= moved_sites(result)


async def _read(target: Target, mirror: Mirror) -> Tip:
    """The tip to plan on. Raises RevisionNotFound for a commit that the default branch's history does not hold."""
    ref = target.repository.ref if target.repository is not None else None
    if not target.pinned or ref is None:
        return await mirror.fetch(target.branch)
    if ref.commit is None and ref.tag is not None:
        return await mirror.fetch_tag(ref.tag)
    assert ref.commit is not None
    branch = await mirror.default_branch()
    await mirror.fetch(branch, depth=0)
    return Tip(commit=ref.commit, tree=mirror.tree(ref.commit), branch=branch)


def _past(line: Line, target: Target, mirror: Mirror, tip: Tip, push_branch: str | None) -> Past:
    async def deepen() -> History:
        ref = target.repository.ref if target.repository is not None else None
        if not target.pinned:
            await mirror.fetch(target.branch, depth=MAX_COMMITS)
        elif ref is not None and ref.commit is None and ref.tag is not None:
            await mirror.fetch_tag(ref.tag, depth=MAX_COMMITS)
        return mirror.reading(tip.commit)

    def proposed() -> list[CommitInfo]:
        if push_branch in (None, target.branch) or (known := mirror.known(push_branch or "")) is None:
            return []
        return [each for each in mirror.history(known, limit=REACH, stop=tip.commit) if is_ours(each)]

    return Past(
        history=mirror.reading(tip.commit), branch=tip.branch, memory=line.memory, deepen=deepen, proposed=proposed
    )


def _history(mirror: Mirror, tip: Tip) -> Written:
    return lambda file, tag: mirror.when_written(tip.commit, file, tag)


def _verify(target: Target, mirror: Mirror, tip: Tip) -> None:
    if target.keys is not None and target.repository is not None and target.repository.verify is not None:
        mirror.verify(tip, target.keys, target.repository.verify.mode)


async def _push(
    request: UpdateRequest, line: Line, target: Target, mirror: Mirror, mirrors: Mirrors, done: Done
) -> None:
    await asyncio.gather(
        *(_queued(request, line, target, mirror, mirrors, automation, done) for automation in target.automations)
    )


async def _queued(
    request: UpdateRequest,
    line: Line,
    target: Target,
    mirror: Mirror,
    mirrors: Mirrors,
    automation: ImageUpdateAutomation,
    done: Done,
) -> None:
    """Through the branch's queue; a push branch of its own is rebuilt from the planned one, and stops at a
    person's commit.
    """
    landed = _Landed()
    key = str(automation.key)
    branch = automation.push_branch or target.branch
    queue = mirrors.queue(mirror, branch, base=target.branch)
    standing = {str(each.key) for each in request.objects.automations if not each.suspend}
    standing |= {str(each.key) for each in target.automations}
    queue.retain(standing | {f"{each}{own}" for each in standing for own in (ROLLBACKS, NOTES)})

    async def plan(tip: Tip) -> Planned | None:
        landed.revision = tip.commit
        if not request.active(automation.key):
            landed.run = None
            return None
        past, rollback = _past(line, target, mirror, tip, automation.push_branch), None
        ground = Ground(
            automation=automation,
            automations=_writers(request, target),
            objects=request.objects,
            line=line,
            commit=tip.commit,
            tree=tip.tree,
            past=past,
            tree_of=mirror.tree,
        )
        if request.note is not None:
            note = await request.note(ground)
            if note is None:
                return None
            landed.message = note_message(note, automation, revision=f"{target.branch}@sha1:{tip.commit}")
            return Planned(
                files=note.files,
                message=str(landed.message),
                author=automation.commit.author,
                signer=signer_for(automation, request.secrets),
            )
        if request.rollback is not None:
            # What this tip records as bad is no way back.
            await past.ready()
            await tell(line, automation, past)
            rollback = await request.rollback(ground)
            if rollback is None:
                landed.run = None
                return None
        landed.run = result = await run(
            line,
            automation,
            request.objects,
            tip.tree,
            written=_history(mirror, tip),
            past=past,
            rollback=rollback,
        )
        if not result.files:
            return None
        landed.message = await message_for(
            result,
            revision=f"{target.branch}@sha1:{tip.commit}",
            renderer=line.renderer,
            rollback=rollback,
        )
        return Planned(
            files=result.files,
            message=str(landed.message),
            author=automation.commit.author,
            signer=signer_for(automation, request.secrets),
        )

    own = ROLLBACKS if request.rollback is not None else NOTES if request.note is not None else ""
    if request.apart and not own and (fault := await _template_fault(request, automation)) is not None:
        done.end(key, revision=None, error=fault)
        return
    outcome = await queue.submit(
        Work(
            key=f"{key}{own}",
            identity=target.access.identity,
            plan=plan,
            verify=lambda tip: _verify(target, mirror, tip),
        )
    )
    if isinstance(outcome.error, SpecError) and not request.apart:
        raise outcome.error
    if landed.run is not None:
        _note(landed.run, outcome.error, done)
    commit = None
    if outcome.commit is not None and landed.message is not None:
        commit = CommitReport(
            repository=target.url,
            branch=branch,
            commit=outcome.commit,
            automation=key,
            subject=landed.message.subject,
            pushed=True,
            attempts=outcome.attempts,
            stood=outcome.stood,
        )
    last = None
    if commit is None and not own:
        last = await _last_commit(request, mirror, automation, landed.revision)
    done.end(key, revision=landed.revision, commit=commit, last=last, error=outcome.error)


def _writers(request: UpdateRequest, target: Target) -> tuple[ImageUpdateAutomation, ...]:
    """Everybody who writes to this repository."""
    source = target.repository.key if target.repository is not None else None
    found = tuple(each for each in request.objects.automations if each.source_ref == source and not each.suspend)
    return found or target.automations


def _note(result: Run, error: ImageUpdaterError | None, done: Done) -> None:
    """What the plan says; where its push failed, nothing of it came true."""
    decisions: tuple[Decision, ...] = result.plan.decisions
    if error is not None:
        decisions = relabel(decisions, State.REFUSED, error.message)
        result = replace(result, edits=(), files={})
    done.note(result, decisions)


async def _template_fault(request: UpdateRequest, automation: ImageUpdateAutomation) -> ImageUpdaterError | None:
    """What is wrong with the message template, said before there is anything to commit; good ones are tried once."""
    known = request.session.templates if request.session is not None else {}
    if known.get(automation.key) is automation:
        return None
    try:
        await check_templates((automation,))
    except SpecError as error:
        return error
    known[automation.key] = automation
    return None


async def _last_commit(
    request: UpdateRequest, mirror: Mirror, automation: ImageUpdateAutomation, revision: str | None
) -> tuple[str, datetime] | None:
    """The newest commit of this automation in the fetched history; looked for once in a process."""
    if not request.apart or request.session is None or revision is None:
        return None
    place = (str(mirror.folder), automation.key)
    if place in request.session.looked_back:
        return None
    request.session.looked_back.add(place)
    name = str(automation.key)
    history = await asyncio.to_thread(mirror.history, revision, limit=_LOOK_BACK)
    return next(((each.id, each.when) for each in history if ("Automation", name) in each.trailers), None)
