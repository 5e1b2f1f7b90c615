"""Users' templates, rendered by sandboxed Jinja2 in a child that cannot take the process with it.

The child gets the template and its values on standard input, has little memory, little time and no environment, and
answers on standard output. Templates come from whoever may write an ImageUpdateAutomation: the sandbox keeps them from
our objects, the child keeps `{% for i in range(10**9) %}` from our event loop.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING

from image_updater.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TEXT = 64 * 1024
TIMEOUT = 30.0

_CHILD = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.path[:] = json.loads(sys.argv[1])
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
asked = json.load(sys.stdin)
environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False, autoescape=False)
try:
    text = environment.from_string(asked["template"]).render(asked["values"])
except TemplateError as exc:
    answer = {"error": f"{type(exc).__name__}: {exc}"[:1000], "line": getattr(exc, "lineno", None)}
except (MemoryError, OverflowError, RecursionError) as exc:
    answer = {"error": f"{type(exc).__name__}: the template needs too much"}
except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as exc:
    answer = {"error": f"{type(exc).__name__}: {exc}"[:1000]}
else:
    # A long text is refused for its length alone: it need not come over.
    answer = {"length": len(text), "text": text[:asked["limit"]]}
json.dump(answer, sys.stdout)
"""


async def render_template(template: str, values: Mapping[str, object], *, field: str) -> str:
    """The text of `template` over `values` (JSON values). Raises SpecError naming `field`: syntax, unknown names,
    limits.
    """
    asked = json.dumps({"template": template, "values": values, "limit": MAX_TEXT}).encode()
    return await asyncio.to_thread(_render, asked, field)


def _render(asked: bytes, field: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-I", "-c", _CHILD, json.dumps([p for p in sys.path if p])],
            input=asked,
            capture_output=True,
            timeout=TIMEOUT,
            env={},
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise SpecError(f"{field}: the template ran longer than {TIMEOUT:.0f} s") from exc
    if done.returncode != 0:
        raise SpecError(f"{field}: the template was stopped: it needs too much time or memory")
    answer = json.loads(done.stdout)
    if "error" in answer:
        line = f" (line {answer['line']} of the template)" if answer.get("line") else ""
        raise SpecError(f"{field}: {answer['error']}{line}")
    text = str(answer["text"])
    if answer["length"] > MAX_TEXT:
        raise SpecError(f"{field}: the text has {answer['length']:,} characters, more than {MAX_TEXT:,}")
    if not text.strip():
        raise SpecError(f"{field}: the template gives an empty message")
    return text
