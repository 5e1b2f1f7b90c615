"""A small real OCI registry in this process: for the demo, the benchmarks, and (with its faults) the tests.

It keeps everything in memory, speaks pull and push over HTTP or HTTPS on a loopback port, and can be told to misbehave
the way registries in the wild do (`faults`). It is no place to keep images: nothing is written to disk, nothing is
collected.
"""

from image_updater.embedded.auth import Auth
from image_updater.embedded.faults import Faults, Reply
from image_updater.embedded.registry import EmbeddedRegistry, Seen

__all__ = ["Auth", "EmbeddedRegistry", "Faults", "Reply", "Seen"]
