"""Sites × selections → edits → bytes, and what a proof compares. Pure."""

from image_updater.patch.model import Change, Difference, Edit, EditKind, Intended
from image_updater.patch.splice import splice
from image_updater.patch.verify import verify_parse
from image_updater.patch.write import write

__all__ = ["Change", "Difference", "Edit", "EditKind", "Intended", "splice", "verify_parse", "write"]
