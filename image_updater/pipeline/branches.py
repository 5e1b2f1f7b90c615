"""Branches that automations write to: one writer each (law 7), and the batch window before its next push."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_updater.api.model import Batch
from image_updater.git.urls import normalise
from image_updater.pipeline.line import selected
from image_updater.pipeline.scheduler import Window

if TYPE_CHECKING:
    from image_updater.api.model import GitRepository, ImageUpdateAutomation, Objects


@dataclass(slots=True)
class Branch:
    """One repository and branch, its automations, and whether it should be looked at."""

    key: str
    repository: GitRepository
    branch: str
    automations: tuple[ImageUpdateAutomation, ...]
    window: Window
    policies: frozenset[str] = frozenset()
    implicit: frozenset[str] = frozenset()
    """Policies from annotations in Git: known after the first run."""
    changed_at: float | None = None
    """When a hint or a list first changed something that is not pushed yet."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def names(self) -> frozenset[str]:
        """The policies whose answers this branch waits for."""
        return self.policies | self.implicit

    @property
    def interval(self) -> float:
        """Seconds between looks when nothing is known to have changed: people commit too."""
        return min(*(each.interval for each in self.automations), self.repository.interval).total_seconds()


def branches_of(objects: Objects, known: dict[str, Branch]) -> tuple[dict[str, Branch], dict[str, str]]:
    """The branches of `objects` by key, those of `known` where they go on; and what is invalid, by automation."""
    repositories = {repository.key: repository for repository in objects.repositories}
    found: dict[str, tuple[GitRepository, str, list[ImageUpdateAutomation]]] = {}
    invalid: dict[str, str] = {}
    for automation in objects.automations:
        repository = repositories.get(automation.source_ref) if automation.source_ref is not None else None
        if repository is None:
            invalid[str(automation.key)] = f"spec.sourceRef: there is no GitRepository {automation.source_ref}"
            continue
        if automation.suspend or repository.suspend:
            continue
        name = repository.ref.branch or ""
        key = f"{normalise(repository.url)}#{name}#{repository.key}"
        found.setdefault(key, (repository, name, []))[2].append(automation)
    branches: dict[str, Branch] = {}
    for key, (repository, name, automations) in found.items():
        branch = known.get(key) or Branch(
            key=key, repository=repository, branch=name, automations=(), window=Window(batch=Batch())
        )
        branch.repository, branch.automations = repository, tuple(automations)
        branch.policies = frozenset(
            str(policy.key) for each in automations for policy in selected(each, objects, anywhere=False)
        )
        branch.window.batch = Batch(
            quiet=max(each.batch.quiet for each in automations), max=max(each.batch.max for each in automations)
        )
        branches[key] = branch
    return branches, invalid
