"""Sites × selections → edits → bytes, and what a proof compares. Pure."""

from image_updater.patch.compare import Comparison, ObjectChange, compare, diff_objects, images_of
from image_updater.patch.model import Change, Difference, Edit, EditKind, Intended
from image_updater.patch.splice import splice
from image_updater.patch.verify import verify_parse
from image_updater.patch.write import write

__all__ = [
    "Change",
    "Comparison",
    "Difference",
    "Edit",
    "EditKind",
    "Intended",
    "ObjectChange",
    "compare",
    "diff_objects",
    "images_of",
    "splice",
    "verify_parse",
    "write",
]
