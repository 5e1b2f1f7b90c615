"""Is an object what its spec asks for, by what its status says? kstatus' answers, kind by kind.

`health` is a pure function of one object as the server has it. It agrees with kstatus, as Flux uses it, but for what
its tables call a deviation; why pods fail, and whose failure that is, is judged elsewhere.
"""

from image_updater.sync.health.canary import Seen
from image_updater.sync.health.judge import health

__all__ = ["Seen", "health"]
