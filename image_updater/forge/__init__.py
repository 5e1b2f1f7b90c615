"""Forges: for now only the tokens that GitHub Apps use with Git. Pull requests come later."""

from __future__ import annotations

from image_updater.forge.github_app import InstallationToken, TokenCache, installation_token

__all__ = ["InstallationToken", "TokenCache", "installation_token"]
