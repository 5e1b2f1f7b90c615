"""Image references: registry, ports, digests, and Docker Hub's implicit names.

Pure. `docker.io/library/nginx`, `index.docker.io/nginx` and `nginx` are one image and compare equal; the text a person
wrote is kept beside it.
"""

from image_updater.images.names import (
    Digest,
    ImageName,
    ImageRef,
    canonical,
    is_digest,
    is_tag,
    parse_name,
    parse_ref,
    same_image,
    split,
)

__all__ = [
    "Digest",
    "ImageName",
    "ImageRef",
    "canonical",
    "is_digest",
    "is_tag",
    "parse_name",
    "parse_ref",
    "same_image",
    "split",
]
