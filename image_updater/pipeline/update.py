"""`image-updater update`: the line over a path, over a URL, or over every repository that the automations name.

A path is taken as its files stand and on the branch checked out (`local.py`). A URL or a GitRepository is a bare mirror
(`remote.py`).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.pipeline.answers.opening import make_selector
from image_updater.pipeline.commits import check_templates
from image_updater.pipeline.line import Line
from image_updater.pipeline.local import update_path
from image_updater.pipeline.remote import update_remote
from image_updater.pipeline.report import ProblemReport
from image_updater.pipeline.session import named_roots, session
from image_updater.pipeline.targets import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from image_updater.pipeline.report import UpdateReport, UpdateRequest


async def update(request: UpdateRequest) -> UpdateReport:
    """Run the line.

    Raises SpecError for invalid input, before anything is written; failures of registries, Git and builds are in
    the report.
    """
    with ExitStack() as stack:
        opened = request.session or stack.enter_context(session(request.settings, request.environment))
        async with make_selector(request, opened.store) as selector:
            line = Line(
                selector=selector,
                renderer=opened.renderer,
                cache=opened.facts,
                once=request.session is None,
                named=named_roots(request.objects, request.roots),
                anywhere=not request.objects.automations,
                pulls=request.pulls,
                busy=request.busy,
                memory=opened.memory,
                situations=selector.situations,
            )
            if not request.apart:
                await check_templates(request.objects.automations)
            if request.target is not None and not is_url(request.target):
                report = await update_path(request, line, Path(request.target))
            else:
                report = await update_remote(request, line, opened.mirrors)
            return report if request.apart else replace(report, problems=(*report.problems, *_asleep(request)))


def _asleep(request: UpdateRequest) -> Iterator[ProblemReport]:
    """What does nothing in this run: that no site is shown of it would look as if it had none."""
    automations = [
        each for each in request.objects.automations if request.automations is None or each.key in request.automations
    ]
    reasons = [
        f"ImageUpdateAutomation {each.key} is suspended: it looks at nothing" for each in automations if each.suspend
    ]
    if request.target is None or is_url(request.target):
        used = {each.source_ref for each in automations if not each.suspend}
        reasons += [
            f"GitRepository {each.key} is suspended: nothing is read from it"
            for each in request.objects.repositories
            if each.suspend and each.key in used
        ]
    for reason in reasons:
        yield ProblemReport(file=None, line=None, reason=f"{reason}, and nothing is written")
