"""Provenance: the roots of a tree, and which scalar of which file sets each image that they render. Pure."""

from image_updater.kustomize.facts import FactCache, MemoryCache
from image_updater.kustomize.locate import locate
from image_updater.kustomize.model import (
    Entry,
    EntryKind,
    MappingRef,
    Marker,
    ObjectId,
    Part,
    Problem,
    Provenance,
    Root,
    RootKind,
    ScalarRef,
    Site,
    SiteKind,
    Tree,
    Use,
    dotted,
)
from image_updater.kustomize.roots import NamedRoot

__all__ = [
    "Entry",
    "EntryKind",
    "FactCache",
    "MappingRef",
    "Marker",
    "MemoryCache",
    "NamedRoot",
    "ObjectId",
    "Part",
    "Problem",
    "Provenance",
    "Root",
    "RootKind",
    "ScalarRef",
    "Site",
    "SiteKind",
    "Tree",
    "Use",
    "dotted",
    "locate",
]
