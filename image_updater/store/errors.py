"""What can be wrong with the state file. A corrupt one is no error: it is moved aside and made anew (it is a cache).

Terminal
└── StateError       not usable by this program: another's database, a newer version's, a folder, no rights
Transient
└── StateFailed      the disk is full, the file is locked for too long, the device failed
"""

from __future__ import annotations

from image_updater.errors import Terminal, Transient


class StateError(Terminal):
    reason = "StateUnusable"


class StateFailed(Transient):
    reason = "StateFailed"
