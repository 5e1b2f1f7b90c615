"""YAML text to nodes that know where they stand, to the character. Pure.

Everything that reads or edits a file goes through here, so that reading and editing agree. There is no dumper: files
are edited by splicing text (`patch/`), never written anew. The parser is libyaml's (through PyYAML's C parser), which
accepts and rejects what go-yaml does; offsets are characters of the decoded text, exact for every valid UTF-8 file.
"""

from image_updater.documents.nodes import Alias, Document, Mapping, Node, Path, Scalar, Sequence, resolve
from image_updater.documents.parse import check, decode, parse, parse_events
from image_updater.documents.values import find, get, plain, string, walk

__all__ = [
    "Alias",
    "Document",
    "Mapping",
    "Node",
    "Path",
    "Scalar",
    "Sequence",
    "check",
    "decode",
    "find",
    "get",
    "parse",
    "parse_events",
    "plain",
    "resolve",
    "string",
    "walk",
]
