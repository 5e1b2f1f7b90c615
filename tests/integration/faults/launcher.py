"""The command line, killed at a step: `launcher.py STEP[:N] ARGUMENTS…` ends at the N-th call of STEP as kill -9 does.

A step is a function at the border of a room and whether the kill comes before its call or after it.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BORDERS = {
    "list": "image_updater.registry.client:RegistryClient.tags",
    "select": "image_updater.pipeline.answers.selection:Selector.select",
    "fetch": "image_updater.git.mirror:Mirror.fetch",
    "locate": "image_updater.pipeline.line:locate",
    "plan": "image_updater.pipeline.line:plan",
    "splice": "image_updater.pipeline.line:splice",
    "prove": "image_updater.pipeline.line:prove",
    "message": "image_updater.pipeline.commits:compose",
    "commit": "image_updater.git.mirror:Mirror.commit",
    "push": "image_updater.git.mirror:Mirror.push",
    "swap": "image_updater.git.mirror:Mirror._swap",
    "store": "image_updater.store.store:Store.save_tags",
    "decision": "image_updater.store.store:Store.save_decision",
    "note": "image_updater.git.journal:begin",
    "write": "image_updater.git.checkout:write_files",
    "object": "image_updater.git.commits:create",
    "branch": "image_updater.git.checkout:Checkout._move",
    "noted": "image_updater.git.journal:end",
    "checkout": "image_updater.git.checkout:Checkout.commit",
    "upstream": "image_updater.git.checkout:Checkout.push",
    "fsync": "os:fsync",
    "rename": "os:rename",
    "set-prove": "image_updater.pipeline.setting:prove",
    "set-splice": "image_updater.pipeline.setting:splice",
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(step: str) -> None:
    """Replace the function of `before-NAME:N` or `after-NAME:N`."""
    name, _, number = step.partition(":")
    when, _, border = name.partition("-")
    module, _, path = BORDERS[border].partition(":")
    *parents, leaf = path.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, leaf, deadly(getattr(owner, leaf), when, int(number or 1)))


def deadly(function: Callable[..., Any], when: str, last: int) -> Callable[..., Any]:
    calls = 0

    def counted(moment: str) -> None:
        nonlocal calls
        if when == moment:
            calls += 1
            if calls == last:
                die()

    if inspect.iscoroutinefunction(function):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            counted("before")
            result = await function(*args, **kwargs)
            counted("after")
            return result

        return awaited

    def called(*args: Any, **kwargs: Any) -> Any:
        counted("before")
        result = function(*args, **kwargs)
        counted("after")
        return result

    return called


if __name__ == "__main__":
    arm(sys.argv[1])
    from image_updater.cli.app import run

    sys.exit(run(sys.argv[2:]))
