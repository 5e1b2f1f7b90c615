"""What all worlds share: the event loop, the registry and its client, the renderer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from image_updater.embedded import EmbeddedRegistry
from image_updater.pipeline.answers.opening import open_client
from image_updater.render import Renderer
from image_updater.settings import Settings
from tests.unit.closed_loop.world import START

if TYPE_CHECKING:
    from pathlib import Path


class Room:
    """What all worlds share: the event loop, the registry, the renderer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runner = asyncio.Runner()
        self.registry = EmbeddedRegistry()
        self._runner.run(self.registry.__aenter__())
        self._opened = open_client(Settings(registry_rate=1e6), lambda: START)
        self.client = self._runner.run(self._opened.__aenter__())
        self._renderer = Renderer.open({})
        self.renderer = self._renderer.__enter__()

    def do(self, work: Any) -> Any:
        return self._runner.run(work)

    def close(self) -> None:
        self._renderer.__exit__(None, None, None)
        self._runner.run(self._opened.__aexit__(None, None, None))
        self._runner.run(self.registry.__aexit__(None, None, None))
        self._runner.close()


class Faults(logging.Handler):
    """Faults that a task has logged, and nobody awaits."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().format(record))
