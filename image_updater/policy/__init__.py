"""Which tag wins: one strategy a file, filters before it, a verdict with a reason for every tag.

Pure: tags, facts and the time come in as arguments. `compile` refuses wrong policies, `judge` chooses, `gate` says what
of that may be written now, `select` says what is written, `may_replace` keeps a site from going down. Nothing here
knows of Git, files or registries.
"""

from image_updater.policy.compiled import CompiledPolicy, compile  # noqa: A004  `policy.compile(…)` reads as what it does.
from image_updater.policy.describe import describe
from image_updater.policy.gating import Gated, gate
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
    "Gated",
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
    "gate",
    "judge",
    "may_replace",
    "select",
]
