"""Docker credential helpers: `docker-credential-NAME get`, the server's URL on stdin, JSON on stdout.

Only ever called for a helper that the user's own docker config names: a Secret must not choose a program that we run.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Mapping

from image_updater.errors import SpecError
from image_updater.registry.dockerconfig import Credentials
from image_updater.registry.errors import RegistryUnavailable, quoted

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_MAX_OUTPUT = 1 << 20
_NOT_FOUND = ("credentials not found in native keychain", "credentials not found", "no credentials")


async def get(
    name: str,
    server: str,
    *,
    environment: Mapping[str, str],
    timeout: float = 10.0,  # noqa: ASYNC109 - seconds for the whole program
) -> Credentials | None:
    """What the helper knows of a server; None if nothing. Raises SpecError (no such helper), RegistryUnavailable
    (it failed).
    """
    if not _NAME.match(name):
        raise SpecError(f"{name!r} is not the name of a credential helper", remedy="correct the docker config")
    program = shutil.which(f"docker-credential-{name}", path=environment.get("PATH", ""))
    if program is None:
        raise SpecError(
            f"docker-credential-{name} is not on PATH", remedy="install it, or take it out of the docker config"
        )
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(environment),
            limit=_MAX_OUTPUT,
        )
    except OSError as error:
        raise RegistryUnavailable(
            f"docker-credential-{name} cannot be started: {error.strerror}", remedy="try it by hand"
        ) from None
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate(f"{server}\n".encode())
    except TimeoutError:
        raise RegistryUnavailable(
            f"docker-credential-{name} did not answer within {timeout:g} s", remedy="try it by hand"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        # A failing helper writes its reason, not a secret, to stdout (docker/docker-credential-helpers).
        words = quoted(output[:1000].decode("utf-8", "replace"))
        if any(text in words.lower() for text in _NOT_FOUND):
            return None
        raise RegistryUnavailable(f"docker-credential-{name} failed: {words or 'without a word'}")
    return _parse(name, output)


def _parse(name: str, output: bytes) -> Credentials | None:
    try:
        value = json.loads(output) if len(output) <= _MAX_OUTPUT else None
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("Secret"), str):
        raise RegistryUnavailable(f"docker-credential-{name} answers in a form that is not known")
    username, secret = str(value.get("Username") or ""), value["Secret"]
    if not secret:
        return None
    if username == "<token>":
        return Credentials(identity_token=secret)
    return Credentials(username=username, password=secret)
