"""RFC 3339 moments, as `--now` and a tags file take them."""

from image_updater.api.moments import parse_rfc3339

__all__ = ["parse_rfc3339"]
