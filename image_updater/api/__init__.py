"""Custom resources as frozen values: YAML is parsed once, here, and an error knows its file, line, field and remedy."""

from image_updater.api.annotations import AnnotationPolicy, PolicyName, parse_annotation_policy
from image_updater.api.decode import SpecErrors
from image_updater.api.durations import format_duration, parse_duration
from image_updater.api.loading import load, load_text, merge
from image_updater.api.references import check_references, find_secret
from image_updater.api.secrets import SecretsFolder

__all__ = [
    "AnnotationPolicy",
    "PolicyName",
    "SecretsFolder",
    "SpecErrors",
    "check_references",
    "find_secret",
    "format_duration",
    "load",
    "load_text",
    "merge",
    "parse_annotation_policy",
    "parse_duration",
]
