"""A registry in memory that counts, and makers of policies."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from image_updater.api.model import (
    DigestPolicy,
    DigestReflection,
    ImagePolicy,
    Meta,
    NewestPolicy,
    ObjectKey,
    SemverPolicy,
    Strategy,
)
from image_updater.images import Digest
from image_updater.pipeline.answers.selection import Selector
from image_updater.registry import ImageFacts, TagList
from image_updater.registry.errors import TagNotFound
from image_updater.store import Store

if TYPE_CHECKING:
    from image_updater.images import ImageName
    from image_updater.pipeline.answers.tagsfile import TagsFile
    from image_updater.registry import Access

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
IMAGE = "registry.test/acme/web"


def digest(text: str) -> Digest:
    import hashlib

    return Digest("sha256:" + hashlib.sha256(text.encode()).hexdigest())


class FakeRegistry:
    """Tags in push order; `digests` and `created` by tag; `fail` is raised by the next calls of a kind."""

    def __init__(self, *tags: str) -> None:
        self.listed = list(tags)
        self.digests = {tag: digest(tag) for tag in tags}
        self.created: dict[str, datetime | None] = {}
        self.calls: Counter[str] = Counter()
        self.fail: dict[str, Exception] = {}

    def push(self, tag: str, content: str | None = None, created: datetime | None = None) -> Digest:
        if tag not in self.listed:
            self.listed.append(tag)
        self.digests[tag] = digest(content or tag)
        if created is not None:
            self.created[tag] = created
        return self.digests[tag]

    def _call(self, kind: str) -> None:
        self.calls[kind] += 1
        if kind in self.fail:
            raise self.fail[kind]

    async def tags(
        self, image: ImageName, access: Access, *, previous: TagList | None = None, fresh: bool = False
    ) -> TagList:
        self._call("tags")
        fingerprint = repr(self.listed)
        if previous is not None and previous.fingerprint == fingerprint:
            return previous
        return TagList(tags=tuple(self.listed), fingerprint=fingerprint)

    async def head(self, image: ImageName, reference: str, access: Access) -> Digest:
        self._call("head")
        if reference not in self.digests:
            raise TagNotFound(f"no tag {reference}")
        return self.digests[reference]

    async def describe(self, image: ImageName, reference: str, access: Access) -> ImageFacts:
        self._call("describe")
        for tag, known in self.digests.items():
            if reference in {tag, known}:
                return ImageFacts(digest=known, media_type="", platforms=(), created=self.created.get(tag))
        raise TagNotFound(f"no tag {reference}")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **passed: float) -> None:
        self.now += timedelta(**passed)


def policy(strategy: Strategy | None = None, *, name: str = "web", image: str = IMAGE, **fields: object) -> ImagePolicy:
    chosen = strategy or SemverPolicy(range="*")
    if isinstance(chosen, DigestPolicy):
        fields.setdefault("reflection", DigestReflection.ALWAYS)
    return ImagePolicy(
        meta=Meta(key=ObjectKey("default", name)),
        image=image,
        strategy=chosen,
        **fields,  # type: ignore[arg-type]
    )


def newest(**fields: object) -> ImagePolicy:
    return policy(NewestPolicy(), **fields)  # type: ignore[arg-type]


def selector(
    registry: FakeRegistry | None,
    *,
    clock: Clock | None = None,
    store: Store | None = None,
    tags: TagsFile | None = None,
) -> Selector:
    return Selector(
        store=store or Store.open(None),
        secrets=lambda _: None,
        environment={},
        clock=clock or Clock(),
        registry=registry,
        tags=tags,
        durable=store is not None,
    )
