"""What the commits of a branch record for everybody who writes there: images that are bad, and people's word to stop.

    Quarantine: <image>:<tag>[@<digest>]       nobody chooses it; with a digest these bytes under any tag, and no others
    Quarantine-Reason: <text>                  of the Quarantine above it
    Release: <image>:<tag>[@<digest>]          lifts it; only from a person, or from a command that a person ran
    Image-Updater: hold | resume               of a person: the sites in the files that the commit touches; of a commit
                                               that touches none, or a hold whose files are not known: the whole branch.
                                               A resume ends what reverts, edits and rollbacks before it hold, too

`Release` and `Image-Updater` of people count on every line of the body that begins with them, in any case: a word to
stop is not overlooked for the paragraph that it stands in. Whatever else is recorded counts as a trailer only, and what
we write just as we write it: a text forges nothing. A line that looks like a person's word and is none is a problem.

A pull request of ours that was merged as one commit of a person often has our trailers in its text, not at its end: the
Quarantines there count all the same.

The record is read from the oldest commit to the newest, and goes on from an older record when commits are added. How
deep: what was fetched; and before the first move that a process plans on a branch, 1,000 commits (`past.py`). What is
older is forgotten here; in a cluster the Quarantine objects that were derived from it still stand. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from image_updater.errors import SpecError
from image_updater.images import parse_ref, same_image
from image_updater.kustomize.model import Problem
from image_updater.policy.situation import Origin, Quarantined

if TYPE_CHECKING:
    from image_updater.git import CommitInfo
    from image_updater.images import ImageName

QUARANTINE: Final = "Quarantine"
REASON: Final = "Quarantine-Reason"
RELEASE: Final = "Release"
WORD: Final = "Image-Updater"
IMAGE: Final = "Image"
OURS: Final = frozenset({"Automation", "Image-Policy"})
"""A commit with one of these trailers is ours."""
ASKED: Final = "Asked-By"
"""A commit of ours that a command made for a person has it, with the person's name: its Release counts."""

_LINE: Final = re.compile(r"^(image[-_ ]?updater|release|quarantine)[ \t]*:(.*)$", re.IGNORECASE | re.MULTILINE)
_WORDS: Final = frozenset({"hold", "resume"})
_SPELT: Final = {key.lower(): key for key in (QUARANTINE, REASON)}

Files = Callable[[str], "frozenset[str] | None"]
"""Commit → the files that it changed; None = not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """A person's `hold` or `resume` in a commit. `files` None: the whole branch."""

    holds: bool
    files: frozenset[str] | None
    commit: str
    author: str
    when: datetime

    def covers(self, file: str) -> bool:
        return self.files is None or file in self.files


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a branch's commits say. `directives` are newest first; `quarantined` are oldest first."""

    quarantined: tuple[Quarantined, ...] = ()
    released: tuple[Quarantined, ...] = ()
    """What a person has lifted."""
    directives: tuple[Directive, ...] = ()
    problems: tuple[Problem, ...] = ()
    wrote: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """By image, as trailers of ours name it, the commits that moved it."""

    def moved(self, image: ImageName) -> Iterator[str]:
        """The commits of ours that moved an image."""
        return (commit for name, commits in self.wrote.items() if same_image(name, image) for commit in commits)

    def directive(self, files: Iterable[str]) -> Directive | None:
        """What holds one of these files, by the last word on each; None = nothing does."""
        for file in files:
            last = next((each for each in self.directives if each.covers(file)), None)
            if last is not None and last.holds:
                return last
        return None

    def resumes(self, file: str) -> tuple[str, ...]:
        """The commits with a `resume` that is about this file."""
        return tuple(each.commit for each in self.directives if not each.holds and each.covers(file))

    def on(self, commits: Iterable[CommitInfo], files: Files) -> Record:
        """The record after these commits, newest first, that follow those of this one."""
        made = self
        for commit in reversed(tuple(commits)):
            said = f"{QUARANTINE}:" in commit.message or f"{IMAGE}:" in commit.message
            if commit.trailers or said or _LINE.search(commit.message):
                made = made._after(commit, files)
        return made

    def _after(self, commit: CommitInfo, files: Files) -> Record:
        quarantined = list(self.quarantined)
        released = list(self.released)
        problems = list(self.problems)
        directives = self.directives
        keys = {key for key, _ in commit.trailers}
        person = not keys & OURS
        said = list(commit.trailers)
        wrote = self.wrote
        for key, value in squashed(commit) if person else said:
            if key == IMAGE:
                wrote = {**wrote, value: (*wrote.get(value, ()), commit.id)}
        if person:
            said = [(_SPELT[key.lower()], value) for key, value in said if key.lower() in _SPELT]
            said += (each for each in squashed(commit) if each[0] in (QUARANTINE, REASON) and each not in said)
            words, complaints = _by_person(commit, said)
            said = [*words, *said]
            problems += complaints
        for index, (key, value) in enumerate(said):
            if key == QUARANTINE:
                found = _image(commit, key, value)
                if isinstance(found, Problem):
                    problems.append(found)
                    continue
                following = said[index + 1] if index + 1 < len(said) else ("", "")
                reason = following[1] if following[0] == REASON else ""
                quarantined = [each for each in quarantined if not _is(each, found)]
                quarantined.append(replace(found, reason=reason))
                released = [each for each in released if not _is(each, found)]
            elif key == RELEASE:
                found = _image(commit, key, value)
                if isinstance(found, Problem):
                    problems.append(found)
                elif person or ASKED in keys:
                    released += [each for each in quarantined if _lifts(found, each)]
                    quarantined = [each for each in quarantined if not _lifts(found, each)]
                else:
                    problems.append(_problem(commit, f"{key}: {value!r} does not count: no person made this commit"))
            elif key == WORD and person:
                made, problem = _directive(commit, value, files)
                if problem is not None:
                    problems.append(problem)
                if made is not None:
                    directives = (made,) if made.files is None else (made, *directives)
        return Record(
            quarantined=tuple(quarantined),
            released=tuple(released),
            directives=directives,
            problems=tuple(dict.fromkeys(problems)),
            wrote=wrote,
        )


def _by_person(
    commit: CommitInfo, recorded: Iterable[tuple[str, str]]
) -> tuple[dict[tuple[str, str], None], list[Problem]]:
    """The words of a person's commit, and the lines that look like one but do not count. `recorded`: the Quarantines
    that do.
    """
    words: dict[tuple[str, str], None] = {}
    problems: list[Problem] = []
    trailers = {(key.lower(), value) for key, value in commit.trailers}
    quotes = bool(squashed(commit))
    for name, value, subject in _lines(commit):
        key, trailer = name.lower(), (name.lower(), value) in trailers
        if key in (RELEASE.lower(), QUARANTINE.lower()):
            if not trailer and (subject or not any(mark in value.split(" ")[0] for mark in "/:@")):
                continue  # Prose: it names no image.
            if key == RELEASE.lower() and (trailer or not quotes):
                words[RELEASE, value] = None
            elif key == RELEASE.lower():
                text = "does not count beside trailers of ours that the text quotes: write it in the last paragraph"
                problems.append(_problem(commit, f"{name}: {_cut(value)!r} {text}"))
            elif (QUARANTINE, value) not in recorded:
                text = "does not count: write it in the last paragraph"
                problems.append(_problem(commit, f"{name}: {_cut(value)!r} {text}"))
        elif key == WORD.lower() and not subject:
            words[WORD, value] = None
        elif value.lower() in _WORDS:
            text = "does not count: write" if key != WORD.lower() else "does not count in the subject: write"
            problems.append(_problem(commit, f"{name}: {value!r} {text} `{WORD}: {value.lower()}` below the subject"))
    return words, problems


def _lines(commit: CommitInfo) -> Iterator[tuple[str, str, bool]]:
    """Name and value of each line that may be meant for us, neither indented nor quoted; is it the subject?"""
    end = len(commit.subject)
    for found in _LINE.finditer(commit.message):
        yield found[1], found[2].strip(), found.start() < end


def _cut(value: str) -> str:
    return value if len(value) <= 100 else f"{value[:100]}…"


def squashed(commit: CommitInfo) -> tuple[tuple[str, str], ...]:
    """The lines `Key: value` of a text that quotes trailers of ours, in order; () where it has them at its end (it is
    ours then), or quotes none.
    """
    if any(key in OURS for key, _ in commit.trailers):
        return ()
    lines = (line.lstrip(" \t*>-").partition(":") for line in commit.message.splitlines())
    found = tuple((key, value.strip()) for key, colon, value in lines if colon)
    return found if any(key in OURS for key, _ in found) else ()


def _directive(commit: CommitInfo, value: str, files: Files) -> tuple[Directive | None, Problem | None]:
    word = value.strip().lower()
    if word not in _WORDS:
        return None, _problem(commit, f"{WORD}: {_cut(value)!r} is neither hold nor resume")
    touched, problem = files(commit.id), None
    if touched is None:
        text = "what the commit touches is not known, its parent was not fetched"
        if word == "resume":
            return None, _problem(commit, f"{WORD}: {word}: {text}")
        problem = _problem(commit, f"{WORD}: {word}: {text}: it holds the whole branch")
    made = Directive(
        holds=word == "hold", files=touched or None, commit=commit.id, author=commit.author.name, when=commit.when
    )
    return made, problem


def _image(commit: CommitInfo, key: str, value: str) -> Quarantined | Problem:
    try:
        found = parse_ref(value.strip())
    except SpecError as error:
        return _problem(commit, f"{key}: {_cut(value)!r} is no image:tag[@digest]: {error.message}")
    if found.tag is None and found.digest is None:
        return _problem(commit, f"{key}: {value!r} is no image:tag[@digest]: it names neither tag nor digest")
    return Quarantined(
        image=str(found.name),
        tag=found.tag,
        digest=found.digest,
        source=f"commit {commit.id[:12]}",
        origin=Origin.COMMIT,
        since=commit.when,
    )


def _problem(commit: CommitInfo, text: str) -> Problem:
    return Problem(file=f"commit {commit.id[:12]}", line=None, reason=f"trailer {text}")


def _same_name(one: Quarantined, other: Quarantined) -> bool:
    try:
        return same_image(one.image, parse_ref(other.image).name)
    except SpecError:
        return one.image == other.image


def _is(one: Quarantined, other: Quarantined) -> bool:
    return (one.tag, one.digest) == (other.tag, other.digest) and _same_name(one, other)


def _lifts(release: Quarantined, bad: Quarantined) -> bool:
    """A digest lifts those bytes under every tag, a tag alone whatever was bad under it."""
    if not _same_name(release, bad):
        return False
    if release.digest is not None:
        return release.digest == bad.digest
    return release.tag == bad.tag
