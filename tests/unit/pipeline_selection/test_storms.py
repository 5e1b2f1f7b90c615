"""A registry that answers 429 while dates are fetched: the rest of it waits, nothing is chosen from a part."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from image_updater.embedded import EmbeddedRegistry, Reply
from image_updater.pipeline.answers.selection import Selector
from image_updater.registry import Limits, RateLimited, RegistryClient
from image_updater.store import Store
from tests.unit.pipeline_selection.fakes import newest

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def no_sleep(seconds: float) -> None:
    raise AssertionError(f"nothing here waits, and this would for {seconds} s")


async def test_a_429_among_500_manifests_ends_the_rest_and_keeps_what_was_learned(tmp_path: Path) -> None:
    tags = [f"build-{number:03}" for number in range(500)]
    async with (
        EmbeddedRegistry() as registry,
        RegistryClient(clock=lambda: NOW, sleep=no_sleep, limits=Limits(rate=1e6, burst=10_000)) as client,
    ):
        for number, tag in enumerate(tags):
            registry.push("acme/web", tag, created=NOW - timedelta(days=number))
        registry.faults.always(r"/manifests/build-450$", Reply(status=429, headers=[("Retry-After", "3600")]))

        async def choose() -> tuple[str, int, int]:
            before = registry.requests.total()
            with Store.open(tmp_path / "state") as store:
                chooser = Selector(
                    store=store,
                    secrets=lambda _: None,
                    environment={},
                    clock=lambda: NOW,
                    registry=client,
                    tags=None,
                    durable=True,
                )
                policy = newest(image=f"{registry.host}/acme/web", insecure=True)
                outcome = (await chooser.select([policy]))["default/web"]
                kept = store._database.read(lambda c: c.execute("SELECT count(*) FROM tag_digests").fetchone()[0])
            assert outcome.selection is None
            assert isinstance(outcome.error, RateLimited)
            assert outcome.error.until is not None
            assert NOW + timedelta(minutes=59) < outcome.error.until <= NOW + timedelta(hours=1)
            return outcome.reason, kept, registry.requests.total() - before

        reason, kept, asked = await choose()
        assert f"{kept} of 500 dates known" in reason
        assert 0 < kept < 499
        assert asked < 3 * 500
        assert (await choose())[1:] == (kept, 0), "the host is left alone, and nothing is forgotten"
