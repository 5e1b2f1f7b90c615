"""Paths inside a repository, and which strings are no paths at all."""

from __future__ import annotations

import posixpath
import re

KUSTOMIZATION_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://|:)")
_SCP = re.compile(r"[^/\s]+@[^/\s:]+[:/]")
_HOST = re.compile(r"(?:gh:|git::|(?:www\.)?(?:github\.com|gitlab\.com|bitbucket\.org|dev\.azure\.com)[/:])")
_DOTTED_HOST = re.compile(r"(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?::[0-9]+)?/")


def is_remote(text: str) -> bool:
    """Would Kustomize fetch this from somewhere (scheme, host, `git@`, `//`, `?ref=`, `.git`)?"""
    if _SCHEME.match(text) or _SCP.match(text) or _HOST.match(text):
        return True
    if "?" in text and re.search(r"[?&](?:ref|version|timeout|submodules)=", text):
        return True
    if "//" in text.lstrip("/") and not text.startswith((".", "/")):
        return True
    if ".git/" in text or text.endswith(".git"):
        return not text.startswith(".")
    return False


def looks_like_host(text: str) -> bool:
    """`example.com/org/repo`: remote only where no such folder exists."""
    return _DOTTED_HOST.match(text) is not None and not text.startswith(".")


def join(folder: str, text: str) -> str | None:
    """`text` as seen from `folder`, relative to the repository's top (`.`); None when it leaves the repository."""
    if text.startswith("/") or "\0" in text or "\\" in text:
        return None
    path = posixpath.normpath(posixpath.join(folder, text))
    return None if path == ".." or path.startswith("../") else path


def folder_of(path: str) -> str:
    """The folder that holds a file."""
    return path.rpartition("/")[0] or "."


def inside(folder: str, path: str) -> bool:
    """Is `path` this folder or below it?"""
    return folder == "." or path == folder or path.startswith(folder + "/")


def parents(folder: str) -> list[str]:
    """The folder and those above it, up to the top."""
    found = [folder]
    while folder != ".":
        folder = folder_of(folder)
        found.append(folder)
    return found


REF = re.compile(r"[?&]ref=([^&#\s]+)")
"""The `ref` parameter of a remote base."""
