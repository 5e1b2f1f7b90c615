"""Forges: for now only the tokens that GitHub Apps use with Git. Pull requests come later."""

from __future__ import annotations

from image_updater.forge.github_app import InstallationToken, installation_token
from image_updater.forge.tokens import Tokens

__all__ = ["InstallationToken", "Tokens", "installation_token"]
