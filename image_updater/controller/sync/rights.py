"""Which objects an account may not apply, by the API server's own word: who cannot have an object keeps nobody from it.

A failed apply alone does not say so: an admission webhook or a quota forbids too, and an object that belongs to another
Kustomization, or waits for one that failed, is never sent.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from image_updater.cluster.errors import Forbidden, KindUnknown
from image_updater.errors import ImageUpdaterError
from image_updater.sync.errors import Contested, HeldBack
from image_updater.sync.model import Action

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from image_updater.cluster import Cluster
    from image_updater.cluster.model import Ref
    from image_updater.sync.model import Done

log = logging.getLogger("image_updater.sync")

_AT_ONCE: Final = 8


def doubtful(done: Iterable[Done]) -> frozenset[Ref]:
    """Those that failed in a way that may be for want of a right."""
    return frozenset(
        each.ref
        for each in done
        if each.action is Action.FAILED and isinstance(each.error, Forbidden | Contested | HeldBack)
    )


async def refused(cluster: Cluster, refs: Collection[Ref]) -> frozenset[Ref]:
    """Those of them that the account of `cluster` may not patch. What cannot be answered is none: in doubt it may."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def may(ref: Ref, *, by_name: bool) -> bool:
        async with slots:
            try:
                resource = await cluster.serving(ref.group, ref.kind)
                return await cluster.may("patch", resource, ref.namespace or None, ref.name if by_name else None)
            except KindUnknown:
                return True
            except Forbidden:
                return False  # not even the account may be used
            except ImageUpdaterError as error:
                log.info("whether %s may be applied cannot be asked: %s", ref, error)
                return True

    # A right is hardly ever one on a single name: one question for each kind and namespace.
    places = {(ref.group, ref.kind, ref.namespace): ref for ref in refs}
    answers = await asyncio.gather(*(may(ref, by_name=False) for ref in places.values()))
    free = {place for place, answer in zip(places, answers, strict=True) if answer}
    left = [ref for ref in sorted(refs) if (ref.group, ref.kind, ref.namespace) not in free]
    answers = await asyncio.gather(*(may(ref, by_name=True) for ref in left))
    return frozenset(ref for ref, answer in zip(left, answers, strict=True) if not answer)
