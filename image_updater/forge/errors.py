"""What a forge's API can answer.

ForgeUnavailable (Transient): no connection, 5xx, rate limit (`until`). ForgeDenied (AccessDenied): key, app or
installation is wrong.
"""

from __future__ import annotations

from image_updater.errors import AccessDenied, Transient


class ForgeUnavailable(Transient):
    reason = "ForgeUnavailable"


class ForgeDenied(AccessDenied):
    reason = "ForgeDenied"


class AppKeyInvalid(ForgeDenied):
    reason = "InvalidAppKey"
