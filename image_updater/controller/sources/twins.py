"""GitRepositories that are one repository, read with several logins or at several paces: which of them are late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.model import GitRepository
from image_updater.controller.sources.fetching import LAG
from image_updater.errors import SpecError
from image_updater.git import urls

if TYPE_CHECKING:
    from image_updater.api.model import GitRef, ObjectKey
    from image_updater.controller.cache import Cache
    from image_updater.controller.context import Context
    from image_updater.controller.sources.fetching import Fetch, Revision
    from image_updater.controller.sources.repositories import Sources


def place_of(cache: Cache, key: ObjectKey) -> tuple[str, GitRef] | None:
    """The repository, by its normalised address, and the ref."""
    entry = cache.get("GitRepository", key)
    if entry is None or not isinstance(entry.value, GitRepository):
        return None
    try:
        return urls.normalise(entry.value.url), entry.value.ref
    except SpecError:
        return None


class Twins:
    """See the module. Used from one event loop."""

    def __init__(self, context: Context, sources: Sources) -> None:
        self._context = context
        self._sources = sources
        self._asked: dict[ObjectKey, tuple[str, bool]] = {}
        """For which commit Git was asked for it, and whether replicas had had their time."""

    def is_late(self, key: ObjectKey, than: Revision) -> bool:
        """Whether `key` follows the same branch as `than`, and may stand at an older commit.

        It may until Git was asked for it since that one was seen; where the answer is another commit, for LAG seconds
        more (replicas). One that is suspended or pinned, or that could not be fetched for LAG seconds, is not waited
        for. It is asked for at once, and once.
        """
        revision, fetch = self._sources.revision(key), self._sources.fetch(key)
        if key == than.repository or (revision is not None and revision.commit == than.commit):
            return False
        if not self._sources.reads(key) or not self._follows(key, than):
            return False
        now = self._context.monotonic()
        if fetch is None:  # it is not looked at yet, or its login is not there
            return now <= than.seen_at + LAG
        if fetch.failing_since is not None and now > fetch.failing_since + LAG:
            return False
        if fetch.read_at > than.seen_at + LAG:
            return False
        if fetch.read_at <= than.seen_at or now > than.seen_at + LAG:
            self._ask(key, fetch, than, again=now > than.seen_at + LAG)
        return True

    def _follows(self, key: ObjectKey, than: Revision) -> bool:
        here, there = self._place(than.repository), self._place(key)
        if here is None or there is None or here[0] != there[0]:
            return False
        if any(ref.commit is not None or ref.tag is not None for ref in (here[1], there[1])):
            return False
        entry, fetch = self._context.cache.get("GitRepository", key), self._sources.fetch(key)
        if entry is None or not isinstance(entry.value, GitRepository) or entry.value.suspend:
            return False
        branch = fetch.branch if fetch is not None else there[1].branch
        return not branch or branch == than.branch  # in doubt the server's default is that one

    def _place(self, key: ObjectKey) -> tuple[str, GitRef] | None:
        fetch = self._sources.fetch(key)
        return (fetch.key[0], fetch.ref) if fetch is not None else place_of(self._context.cache, key)

    def _ask(self, key: ObjectKey, fetch: Fetch, than: Revision, *, again: bool) -> None:
        asked = (than.commit, again)
        if fetch.tip is None or self._asked.get(key) == asked or fetch is self._sources.fetch(than.repository):
            return  # it is asked for already, or what was found is being told to all that it is for
        self._asked[key] = asked
        self._sources.hurry(key)
