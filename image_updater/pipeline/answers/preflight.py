"""Right before a choice is written: can what it names be pulled, with the credentials that its workload has?

A registry lists a tag while its layers are still being replicated, after they were collected as garbage, or although
one platform was never pushed. So the manifest of every (wanted) platform, its config and each of its layers must be
there. What passed once passes for ever: a digest's content does not change.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from image_updater.pipeline.answers.facts import first
from image_updater.policy.gates.platforms import runs

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence

    from image_updater.images import Digest, ImageName
    from image_updater.pipeline.answers.listing import Source
    from image_updater.registry import Access
    from image_updater.registry.manifests import Descriptor, Manifest
    from image_updater.store import Store

T = TypeVar("T")

AT_ONCE: Final = 8
"""Requests of one image under way together."""

_SCOPE: Final = "#preflight"
"""What passed is kept beside the facts, under the identity that asked."""


class Images(Protocol):
    """What is asked of a registry client."""

    async def head(self, image: ImageName, reference: str, access: Access) -> Digest: ...
    async def manifest(self, image: ImageName, reference: str, access: Access) -> Manifest: ...
    async def has_blob(self, image: ImageName, digest: str, access: Access) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is to be written: `tag`, with `digest` if that is written, too.

    `judged`: the digest that the tag had when it was chosen, as far as that was asked; with `exact` it was chosen for
    those bytes (their signature, their age). `platforms`: only these; () = all that the image has.
    """

    source: Source
    tag: str
    digest: Digest | None = None
    judged: Digest | None = None
    exact: bool = False
    platforms: tuple[str, ...] = ()

    @property
    def image(self) -> ImageName:
        return self.source.image


class Preflight:
    """Passes by repository, identity, digest and platforms, which the store keeps."""

    def __init__(self, images: Images, store: Store) -> None:
        self._images = images
        self._store = store

    async def check(self, candidate: Candidate) -> str | None:
        """Why it may not be written now; None when all of it is there.

        Raises RegistryError where nothing can be said (the choice is not written then, either) and AccessDenied.
        """
        from image_updater.registry.errors import RepositoryNotFound, TagNotFound, UnsupportedManifest

        known = candidate.digest or candidate.judged
        if known is not None and self._has_passed(candidate, known):
            return await self.moved(candidate)
        what = f"manifest {candidate.digest}" if candidate.digest else f"tag {candidate.tag}"
        try:
            outer = await self._images.manifest(
                candidate.image, candidate.digest or candidate.tag, candidate.source.access
            )
        except (TagNotFound, RepositoryNotFound):
            return f"{what} answers 404"
        except UnsupportedManifest as error:
            return f"{what}: {error.message}"
        if known is not None and outer.digest != known:
            return _other(candidate.tag, outer.digest, known)
        if self._has_passed(candidate, outer.digest):
            return None
        missing = await self._missing(candidate, outer)
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            return f"{missing[0]}{more}"
        self._pass(candidate, outer.digest)
        return None

    async def moved(self, candidate: Candidate) -> str | None:
        """Where a tag alone is written that was chosen for its bytes: why it has them no more; None = it has.

        Raises RegistryError, AccessDenied.
        """
        from image_updater.registry.errors import RepositoryNotFound, TagNotFound

        if not candidate.exact or candidate.digest is not None or candidate.judged is None:
            return None
        try:
            now = await self._images.head(candidate.image, candidate.tag, candidate.source.access)
        except (TagNotFound, RepositoryNotFound):
            return f"tag {candidate.tag} answers 404"
        return None if now == candidate.judged else _other(candidate.tag, now, candidate.judged)

    async def _missing(self, candidate: Candidate, outer: Manifest) -> Sequence[str]:
        """What is not there, in words, in the order of the index."""
        gate = asyncio.Semaphore(AT_ONCE)
        if not outer.is_index:
            return await self._content(candidate, outer, "", gate)
        entries = [entry for entry in outer.images if _is_wanted(entry.platform, candidate.platforms)]
        if not entries:
            return [f"the image index has no image for {', '.join(candidate.platforms) or 'any platform'}"]
        found = await _together(self._platform(candidate, entry, gate) for entry in entries)
        return [each for missing in found for each in missing]

    async def _platform(self, candidate: Candidate, entry: Descriptor, gate: asyncio.Semaphore) -> Sequence[str]:
        from image_updater.registry.errors import TagNotFound, UnsupportedManifest

        of = f" of {entry.platform}" if entry.platform else ""
        try:
            async with gate:
                inner = await self._images.manifest(candidate.image, entry.digest, candidate.source.access)
        except TagNotFound:
            return [f"manifest {entry.digest}{of} answers 404"]
        except UnsupportedManifest as error:
            return [f"manifest {entry.digest}{of}: {error.message}"]
        if inner.is_index:
            return [f"manifest {entry.digest}{of} is an index in an index, which is not supported"]
        return await self._content(candidate, inner, of, gate)

    async def _content(
        self, candidate: Candidate, manifest: Manifest, of: str, gate: asyncio.Semaphore
    ) -> Sequence[str]:
        blobs: dict[Digest, str] = {}
        if manifest.config is not None:
            blobs[manifest.config.digest] = "config"
        for layer in manifest.layers:
            if not layer.is_foreign:
                blobs.setdefault(layer.digest, "layer")

        async def one(digest: Digest, kind: str) -> str | None:
            async with gate:
                there = await self._images.has_blob(candidate.image, digest, candidate.source.access)
            return None if there else f"{kind} {digest}{of} answers 404"

        found = await _together(one(digest, kind) for digest, kind in blobs.items())
        return [each for each in found if each is not None]

    # ------------------------------------------------------------------------------------------------- passes

    def _has_passed(self, candidate: Candidate, digest: Digest) -> bool:
        return _platforms(candidate) in self._passes(candidate, digest)

    def _pass(self, candidate: Candidate, digest: Digest) -> None:
        repository, identity = candidate.source.key
        passes = {**self._passes(candidate, digest), _platforms(candidate): True}
        self._store.save_facts(repository, identity + _SCOPE, {digest: passes})

    def _passes(self, candidate: Candidate, digest: Digest) -> Mapping[str, object]:
        repository, identity = candidate.source.key
        return self._store.facts(repository, identity + _SCOPE, [digest]).get(digest, {})


def _other(tag: str, now: Digest, chosen: Digest) -> str:
    return f"{tag} has other bytes now ({now}) than when it was chosen ({chosen})"


def _is_wanted(platform: str | None, platforms: Sequence[str]) -> bool:
    """Will somebody pull the image of this platform?"""
    return not platforms or platform is None or any(runs(each, platform) for each in platforms)


def _platforms(candidate: Candidate) -> str:
    return ",".join(sorted(set(candidate.platforms))) or "all"


async def _together(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """The answers in order; the first error ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise first(errors) from None
    return [task.result() for task in tasks]
