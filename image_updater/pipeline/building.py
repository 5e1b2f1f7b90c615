"""A Kustomization's render, without locating the repository: its key, and its manifests.

What a commit did not touch costs nothing here; what it touched costs its closure. Key and render are those of the
proof, so what the proof has built for our own commit is taken from the renderer's cache. Never judges a render, never
talks to a cluster.
"""

from __future__ import annotations

import asyncio
import posixpath
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.api.model import Objects
from image_updater.errors import ImageUpdaterError, Where
from image_updater.kustomize import MemoryCache, RootKind
from image_updater.kustomize.single import NamedRoots
from image_updater.pipeline.session import named_roots
from image_updater.render import plain
from image_updater.render.errors import BuildFailed
from image_updater.render.messages import sentence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.api.model import Kustomization, ObjectKey
    from image_updater.kustomize import FactCache, Root, Tree
    from image_updater.kustomize.model import Problem
    from image_updater.render import Renderer

_LINES = 64
"""Repositories and branches whose parsed files are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a Kustomization renders: `key` names the content, equal keys are equal manifests."""

    key: str
    tree: Tree
    root: Root
    problems: tuple[Problem, ...] = ()


class Builds:
    """Plans and renders of Kustomizations. One a process; used from one event loop, works in threads."""

    def __init__(self, renderer: Renderer, *, facts: FactCache | None = None) -> None:
        """`facts` keeps what files hold between processes."""
        self._renderer = renderer
        self._facts = facts if facts is not None else MemoryCache()
        self._lines: OrderedDict[str, NamedRoots] = OrderedDict()
        self._lock = threading.Lock()

    async def plan_all(
        self, tree: Tree, kustomizations: Iterable[Kustomization], *, line: str
    ) -> dict[ObjectKey, Plan | ImageUpdaterError]:
        """The plan of each, or why there is none. `line` names the branch that `tree` is the tip of."""
        wanted = list(kustomizations)
        return await asyncio.to_thread(self._plan_all, tree, wanted, line)

    async def plan(self, tree: Tree, kustomization: Kustomization, *, line: str) -> Plan:
        """Raises DocumentError, RendererMissing, RendererTooOld, GitError."""
        answer = (await self.plan_all(tree, [kustomization], line=line))[kustomization.key]
        if isinstance(answer, ImageUpdaterError):
            raise answer
        return answer

    async def build(self, plan: Plan) -> bytes | tuple[tuple[str, bytes], ...]:
        """The manifests: one stream of documents, or for plain ones the files with their names. Raises RenderError (its
        leaves say why) and DocumentError, with file and line where they are known. Of a BuildFailed the cause has all
        that kustomize said.
        """
        if plan.root.kind is RootKind.PLAIN:
            return await asyncio.to_thread(plain.manifests, plan.tree, plan.root)
        try:
            return await self._renderer.build(plan.tree, plan.root)
        except BuildFailed as exc:
            raise _short(exc, plan) from exc

    # ------------------------------------------------------------------------------------------- in a thread

    def _plan_all(
        self, tree: Tree, kustomizations: list[Kustomization], line: str
    ) -> dict[ObjectKey, Plan | ImageUpdaterError]:
        answers: dict[ObjectKey, Plan | ImageUpdaterError] = {}
        with self._lock:  # pure Python: side by side it would not be faster, and what is kept has one writer
            roots = self._lines.get(line)
            if roots is None:
                roots = self._lines[line] = NamedRoots(self._facts)
            self._lines.move_to_end(line)
            while len(self._lines) > _LINES:
                self._lines.popitem(last=False)
            for each in kustomizations:
                try:
                    answers[each.key] = self._plan(tree, roots, each)
                except ImageUpdaterError as exc:
                    answers[each.key] = exc
        return answers

    def _plan(self, tree: Tree, roots: NamedRoots, kustomization: Kustomization) -> Plan:
        (named,) = named_roots(Objects(kustomizations=(kustomization,)), ())
        single = roots.find(tree, named)
        key = self._renderer.key(tree, single.root)
        return Plan(key=key, tree=tree, root=single.root, problems=single.problems)


def _short(error: BuildFailed, plan: Plan) -> BuildFailed:
    """One sentence, and its place: as reading has found it, where that is what kustomize stumbled over."""
    text = sentence(error.message)
    for problem in plan.problems:
        where = Where(file=problem.file, line=problem.line)
        if problem.line is None:
            continue
        if _is_said(problem, error):
            return BuildFailed(problem.reason, where=where, remedy=error.remedy)
        if error.where.line is None and (problem.file == error.where.file or problem.file in error.message):
            return BuildFailed(f"{problem.reason}: {text}", where=where, remedy=error.remedy)
    return BuildFailed(text, where=error.where, remedy=error.remedy)


def _is_said(problem: Problem, error: BuildFailed) -> bool:
    """Whether it is what kustomize says: of what is missing it does not always name the file that asks for it."""
    if problem.reason.endswith(" does not exist"):
        return posixpath.basename(problem.reason.partition(" ")[0]) in error.message
    places = (problem.file, posixpath.dirname(problem.file))
    return problem.reason.startswith("not valid YAML") and "yaml: " in error.message and error.where.file in places
