"""Which tag wins: one strategy a file, filters before it, a verdict with a reason for every tag.

Pure: tags, facts and the time come in as arguments. `compile` refuses wrong policies, `judge` chooses, `select` says
what is written, `may_replace` keeps a site from going down. Nothing here knows of Git, files or registries.
"""

from image_updater.policy.compiled import CompiledPolicy, compile  # noqa: A004  `policy.compile(…)` reads as what it does.
from image_updater.policy.describe import describe
from image_updater.policy.judge import Judged, judge, select
from image_updater.policy.model import (
    Chosen,
    Fate,
    Judgement,
    MoveKind,
    Movement,
    Selection,
    TagFacts,
    Verdict,
)
from image_updater.policy.movement import may_replace
from image_updater.policy.tagset import TagSet

__all__ = [
    "Chosen",
    "CompiledPolicy",
    "Fate",
    "Judged",
    "Judgement",
    "MoveKind",
    "Movement",
    "Selection",
    "TagFacts",
    "TagSet",
    "Verdict",
    "compile",
    "describe",
    "judge",
    "may_replace",
    "select",
]
