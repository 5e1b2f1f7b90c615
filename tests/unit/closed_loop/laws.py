"""What must be true of every commit of ours, whatever was done before.

What people did and what commits say is kept here in a second, plain way (lists of who set what), so that the line's own
reading of history is not judged by itself.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pygit2

from tests.unit.closed_loop.clusters import value_of
from tests.unit.closed_loop.world import APPS, PERSON, Bad, Entry, World, order

if TYPE_CHECKING:
    from tests.unit.closed_loop.homes import Home
    from tests.unit.closed_loop.world import Image


class JudgedWorld(World):
    """`observe()` after each step; `waits()` at rest."""

    # ---------------------------------------------------------------------------------------------- what must be true

    def observe(self) -> list[str]:
        """Judge every commit since the last look; those of ours."""
        new = []
        for commit in self.git.walk(self.tip):
            if str(commit.id) == self.seen:
                break
            new.append(commit)
        ours = []
        for commit in reversed(new):
            parent = str(commit.parent_ids[0])
            changed = [app for app in APPS if self.text(app, parent) != self.text(app, str(commit.id))]
            if commit.author.name == PERSON:
                self._person(commit, parent, changed)
            else:
                ours.append(str(commit.id))
                self._ours(commit, parent, changed)
        self.seen = self.tip
        return ours

    def _person(self, commit: Any, parent: str, changed: list[str]) -> None:
        when = datetime.fromtimestamp(commit.commit_time, UTC)
        kind = "squash" if "Image-Policy:" in commit.message else "person"
        for app in changed:
            value = value_of(self.image_in(app, str(commit.id)))
            if value != value_of(self.image_in(app, parent)):
                self.chains[app].append(Entry(kind=kind, value=value, commit=str(commit.id), when=when))
                if kind == "squash":
                    # Whoever merges what was bad once lets it fail once more.
                    again = (self.images[app], value[0])
                    self.taken_back = {each for each in self.taken_back if (each.image, each.tag) != again}
        for line in commit.message.splitlines():
            key, _, text = line.partition(": ")
            if key == "Image-Updater":
                self.directives.insert(0, (text == "hold", frozenset(changed), when))
            elif key == "Release":
                image, _, tag = text.rpartition(":")
                released = [each for each in self.record if (each.image, each.tag) == (image, tag)]
                self.record = [each for each in self.record if each not in released]
                self.taken_back -= set(released)

    def _ours(self, commit: Any, parent: str, changed: list[str]) -> None:
        home = self.acting
        assert home is not None, f"nobody was asked to write {commit.id}"
        said = [tuple(line.split(": ", 1)) for line in commit.message.splitlines() if ": " in line]
        where = f"{str(commit.id)[:8]} {commit.message.splitlines()[0]!r}"
        trailers: dict[str, list[str]] = {}
        for key, text in said:
            trailers.setdefault(key, []).append(text)
        assert trailers.get("Automation") == ["shop/all"], where
        assert {f"shop/{app}" for app in changed} == set(trailers.get("Image-Policy", ())), where
        self._only_images(commit, parent, changed)
        back, asked = "Rollback" in trailers, trailers.get("Rollback-Asked")
        when = datetime.fromtimestamp(commit.commit_time, UTC)
        for app in changed:
            old = value_of(self.image_in(app, parent))
            new = value_of(self.image_in(app, str(commit.id)))
            assert not self.is_barred(home, app, new), f"{where}: {self.is_barred(home, app, new)}"
            if not back:
                self._update(home, app, old, new, where)
            elif asked:
                assert not self.is_frozen(home, for_rollback=True), where
                assert (app, asked[0]) not in self.granted, f"{where}: a wish is granted twice"
                self.granted.add((app, asked[0]))
            elif "Quarantine" in trailers:
                self._after_failure(home, app, old, where)
            else:
                found = self.quarantines(home, app)
                # What a tag meant when it was written may be other bytes by now.
                known = (bad.tag == old[0] or bad.bars(self.images[app], self._now(app, old)) for bad in found)
                assert any(known), f"{where}: nobody asked for it"
            entry = Entry(kind="rollback" if back else "ours", value=new, commit=str(commit.id), when=when)
            self.chains[app].append(entry)
        for text in trailers.get("Quarantine", ()):
            name, _, digest = text.partition("@")
            image, _, tag = name.rpartition(":")
            bad = Bad(image=image, tag=tag, digest=digest or None)
            assert bad not in self.taken_back, f"{where}: rolled back twice"
            self.taken_back.add(bad)
            self.record.append(bad)

    def _now(self, app: str, value: Image) -> Image:
        """With the bytes that its tag has."""
        return value[0], value[1] or self.bytes_of(app, value[0])

    def _only_images(self, commit: Any, parent: str, changed: list[str]) -> None:
        diff = self.git[parent].peel(pygit2.Tree).diff_to_tree(commit.tree)
        assert {delta.new_file.path for delta in diff.deltas} == {self.file(app) for app in changed}
        for app in changed:
            before, after = self.text(app, parent), self.text(app, str(commit.id))
            plain = before.replace(self.image_in(app, parent), "X")
            assert plain == after.replace(self.image_in(app, str(commit.id)), "X")

    def _update(self, home: Home, app: str, old: Image, new: Image, where: str) -> None:
        assert order(new[0]) >= order(old[0]), f"{where}: it goes down"
        assert not self.is_frozen(home), f"{where}: frozen"
        assert self.is_open, f"{where}: outside the windows"
        held = self.is_told_to_hold(home, app)
        assert not held, f"{where}: {held}"
        for entry, by in self.displaced(home, app):
            if by.kind == "rollback" and entry.value[0] == new[0] and self._is_pushed_again(app, new, by):
                continue
            assert order(new[0]) > order(entry.value[0]), (
                f"{where}: {app} {entry.value} was taken back by {by.kind} in {by.commit[:8]}"
            )
        if self.options.approvals and app == "api":
            assert new[0] in {each.tag for each in self.wishes(home, app).approvals}, f"{where}: nobody approved it"
        is_open = self.breakers.get((home.name, app)) and home.breaker(app)
        assert not is_open, f"{where}: the breaker is open"

    def _is_pushed_again(self, app: str, new: Image, by: Entry) -> bool:
        """Has the tag other bytes than those that this rollback calls bad? It is a new candidate then."""
        bad = f"Quarantine: {self.images[app]}:{new[0]}@"
        digest = new[1] or self.bytes_of(app, new[0])
        message = str(self.git[by.commit].peel(pygit2.Commit).message)
        return bad in message and f"{bad}{digest}" not in message

    def _after_failure(self, home: Home, app: str, old: Image, where: str) -> None:
        assert not self.is_frozen(home, for_rollback=True), f"{where}: frozen"
        # A step may end with the pods of what it went back to.
        ran = {self.ran.get((home.name, app)), home.pods[app].digest} - {None}
        assert not all(self.fates[str(each)] for each in ran), f"{where}: {app} {old} is good, and was taken back"
        last = self.chains[app][-1]
        assert last.kind in ("ours", "squash"), f"{where}: {app} {old} was set by {last.kind}"

    def is_told_to_hold(self, home: Home, app: str) -> str:
        """Why a person lets nothing be written for it."""
        hold = self.wishes(home, app).hold
        if hold is not None and (hold.until is None or hold.until > self.now):
            return "held by annotation"
        resumed = self.wishes(home, app).resumed
        for holds, files, when in self.directives:
            if not files or app in files:
                return "held by a commit" if holds and (resumed is None or when > resumed) else ""
        return ""

    def displaced(self, home: Home, app: str) -> list[tuple[Entry, Entry]]:
        """What of ours was taken back, and by what; those that hold yet."""
        chain = self.chains[app]
        said = [when for holds, files, when in self.directives if not holds and (not files or app in files)]
        resumed = max((*said, *filter(None, [self.wishes(home, app).resumed])), default=None)
        found = []
        for number, entry in enumerate(chain[:-1]):
            by = chain[number + 1]
            if entry.kind not in ("ours", "squash") or by.kind not in ("person", "rollback"):
                continue
            later = chain[number + 1 :]
            # Of several people, one after the other, the last one's word counts.
            by = [by, *takewhile(lambda each: each.kind == "person", later)][-1]
            restored = any(each.kind == "person" and each.value == entry.value for each in later)
            # Whoever merges a proposal of ours has said which one it shall be from then on.
            restored = restored or any(each.kind == "squash" for each in later)
            if restored or by.value == entry.value or (resumed is not None and by.when <= resumed):
                continue
            found.append((entry, by))
        return found

    def note_breakers(self) -> None:
        """Which are open before a home begins to work, and what runs then."""
        self.breakers = {(home.name, app): home.breaker(app) for home in self.homes for app in APPS}
        self.ran = {(home.name, app): pods.digest for home in self.homes for app, pods in home.pods.items()}

    # ---------------------------------------------------------------------------------------------- progress

    def waits(self, app: str) -> str:
        """Why no home writes the best tag there is; empty = one must have."""
        reasons = []
        for home in self.homes:
            reason = self._waits(home, app)
            if not reason:
                return ""
            reasons.append(reason)
        return "; ".join(reasons)

    def best(self, home: Home, app: str) -> str | None:
        wishes = self.wishes(home, app)
        fits = [tag for tag in self.tags(app) if not self.is_barred(home, app, (tag, None))]
        if self.options.approvals and app == "api":
            fits = [tag for tag in fits if tag in {each.tag for each in wishes.approvals}]
        return fits[-1] if fits else None

    def _waits(self, home: Home, app: str) -> str:
        best, now = self.best(home, app), self.value(app)[0]
        if best is None or order(best) <= order(now):
            return "it has the best"
        if self.is_frozen(home) or not self.is_open:
            return "frozen or closed"
        if held := self.is_told_to_hold(home, app):
            return held
        if breaker := home.breaker(app):
            return breaker
        if any(order(entry.value[0]) >= order(best) for entry, _ in self.displaced(home, app)):
            return "it was taken back"
        policy = next(each for each in home.cluster.cache.objects().policies if each.key.name == app)
        situation = home.selector.situations.of(policy)
        if self.options.on_failure == "hold" and situation.hold is not None:
            return situation.hold.reason
        return ""
