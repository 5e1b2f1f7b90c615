"""One image with 50,000 tags: a hint → the policy is updated; the same list again: nothing is parsed.

The registry answers 50,000 tags in one reply. With a tag in the hint one HEAD is enough; a hint without a tag reads
the whole list, as Flux does.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from image_updater.images import parse_name
from tests.bench import repositories, servers
from tests.bench.rows import Row, median, spread
from tests.parts import registries

if TYPE_CHECKING:
    from image_updater.api.model import ImagePolicy

COUNT = 50_000
RUNS = 9
IMAGE = "acme/long"


def bench() -> list[Row]:
    return asyncio.run(_bench())


async def _bench() -> list[Row]:
    with servers.folder() as place, registries.running("debian", place / "registry") as registry:
        servers.push_image(registry, IMAGE, "1.0.0")
        servers.tag_lists(registry, {IMAGE: [f"1.{n // 200}.{n % 200}" for n in range(COUNT)]})
        manifest = servers.get_manifest(registry, IMAGE, "1.0.0")
        objects = repositories.policy("long", f"{registry.host}/{IMAGE}")
        async with servers.product(place / "product", objects) as product:
            policy = product.objects.policies[0]
            await product.selector.refresh([policy])
            hinted, listed, equal = [], [], []
            unchanged = product.client.metrics.unchanged
            for run in range(RUNS):
                servers.put_manifest(registry, IMAGE, f"1.900.{run}", manifest)
                servers.quiet(2.0)
                hinted.append(await _hint(product, policy, f"1.900.{run}"))
                # The list is asked once in full, so that the next run begins with what the registry says.
                await product.selector.refresh([policy])
                servers.put_manifest(registry, IMAGE, f"1.901.{run}", manifest)
                servers.quiet(2.0)
                listed.append(await _hint(product, policy, None, expect=f"1.901.{run}"))
                parsed = product.client.metrics.unchanged
                with servers.Timer() as timer:
                    await product.selector.refresh([policy])
                assert product.client.metrics.unchanged == parsed + 1, "an equal list is not parsed"
                equal.append(timer)
                await asyncio.to_thread(servers.forget_tags, registry, IMAGE, keep=_kept())
                await product.selector.refresh([policy])
            raw = [_bare(registry) for _ in range(5)]
            assert product.client.metrics.unchanged >= unchanged + RUNS
    note = f"a bare GET of the list takes {median(raw):.3f} s"
    work = f"{COUNT:,} tags"
    return [
        Row(work=f"{work}: hint with its tag → policy updated", value=median([t.wall for t in hinted]), unit="s",
            budget=0.1, flux="125 ms", note=_note(hinted)),
        Row(work=f"{work}: hint without a tag → policy updated", value=median([t.wall for t in listed]), unit="s",
            budget=0.1, flux="125 ms",
            note=f"{_note(listed)}; {note}"),
        Row(work=f"{work}: an equal list, polled", value=median([t.wall for t in equal]), unit="s", budget=0.1,
            note=f"{_note(equal)}; nothing parsed; {note}"),
    ]  # fmt: skip


def _note(timers: list[servers.Timer]) -> str:
    return f"{spread([timer.wall for timer in timers])}; CPU {median([timer.cpu for timer in timers]):.3f} s"


def _kept() -> list[str]:
    return ["1.0.0", *(f"1.{n // 200}.{n % 200}" for n in range(COUNT))]


async def _hint(
    product: servers.Product, policy: ImagePolicy, tag: str | None, *, expect: str | None = None
) -> servers.Timer:
    with servers.Timer() as timer:
        outcomes = await product.selector.hint(parse_name(policy.image), tag, [policy])
    (outcome,) = outcomes.values()
    assert outcome.selection is not None
    assert outcome.selection.tag == (expect or tag), (outcome.selection.tag, expect or tag)
    return timer


def _bare(registry: registries.RealRegistry) -> float:
    begun = time.perf_counter()
    registries.request("GET", f"{registry.url}/v2/{IMAGE}/tags/list")
    return time.perf_counter() - begun
