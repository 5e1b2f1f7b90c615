"""A registry, a branch, people, and the homes that write there; with what must be true of every commit of ours.

What people did and what commits say is kept here in a second, plain way (lists of who set what), so that the line's own
reading of history is not judged by itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pygit2

from image_updater.api.wishes import Wishes, read_wishes, to_annotations, wish
from tests.unit.closed_loop.homes import (
    SPACE,
    Common,
    FakeCluster,
    Home,
    Killed,
    object_,
    value_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from image_updater.api.wishes import Wish
    from image_updater.embedded import EmbeddedRegistry
    from image_updater.registry import RegistryClient
    from image_updater.render import Renderer

START: Final = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
APPS: Final = ("web", "side", "api")
PERSON: Final = "Person"
MANIFEST: Final = """\
# {app}: as people write it
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {app}
  namespace: shop
spec:
  template:
    spec:
      containers:
        - name: main
          image:   {image}   # kept
          args: ["--of", '{app}']
"""

Image = tuple[str, "str | None"]
"""Tag and digest."""


def order(tag: str) -> tuple[int, ...]:
    return tuple(map(int, tag.split(".")))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the objects say; drawn once for a world."""

    reflection: str = "Never"
    on_failure: str = "rollback"
    window: bool = False
    approvals: bool = False
    """The app `api` needs one person's yes."""
    homes: int = 1


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One commit's value of one app."""

    kind: str
    """`ours`, `rollback`, `person`, or `squash` (ours, merged under a person's name)."""
    value: Image
    commit: str
    when: datetime


@dataclass(frozen=True, kw_only=True)
class Bad:
    image: str
    tag: str
    digest: str | None

    def bars(self, image: str, value: Image) -> bool:
        tag, digest = value
        if self.image != image:
            return False
        return self.digest == digest if self.digest and digest else self.tag == tag


@dataclass
class World:
    registry: EmbeddedRegistry
    client: RegistryClient
    renderer: Renderer
    folder: Path
    name: str
    options: Options
    now: datetime = START
    minor: int = 0
    contents: int = 0
    fates: dict[str, bool] = field(default_factory=dict)
    homes: list[Home] = field(default_factory=list)
    acting: Home | None = None
    chains: dict[str, list[Entry]] = field(default_factory=dict)
    record: list[Bad] = field(default_factory=list)
    taken_back: set[tuple[str, str]] = field(default_factory=set)
    """Image and value of rollbacks after a failure, since the last Release of them."""
    granted: set[tuple[str, str]] = field(default_factory=set)
    """App and moment of wishes to roll back that a commit answered."""
    directives: list[tuple[bool, frozenset[str], datetime]] = field(default_factory=list)
    """Holds and resumes of commits, newest first; no file = the branch."""
    story: list[str] = field(default_factory=list)

    # ---------------------------------------------------------------------------------------------- making it

    def begin(self) -> None:
        self.bare = self.folder / f"{self.name}.git"
        self.git = pygit2.init_repository(self.bare, bare=True, initial_head="main")
        self.images = {app: f"{self.registry.host}/{self.name}/{app}" for app in APPS}
        for app in APPS:
            self.push(app, "1.0.0", good=True)
        files = {self.file(app): MANIFEST.format(app=app, image=f"{self.images[app]}:1.0.0") for app in APPS}
        first = self.commit({**files, "README.md": "A fleet\n"}, "Start")
        self.seen = first
        self.chains = {app: [Entry(kind="person", value=("1.0.0", None), commit=first, when=self.now)] for app in APPS}
        common = Common(
            clock=lambda: self.now,
            client=self.client,
            renderer=self.renderer,
            bare=self.bare,
            folder=self.folder,
            digest_of=self.digest_of,
            is_good=lambda digest: self.fates[digest],
            apps=APPS,
            image_in=lambda app: self.image_in(app),
            tip=lambda: self.tip,
        )
        for number in range(self.options.homes):
            home = Home(name=f"{self.name}-{number}", common=common, cluster=FakeCluster(common.clock))
            for body in self.objects():
                home.cluster.put(body)
            home.begin()
            self.homes.append(home)

    def objects(self) -> list[dict[str, Any]]:
        options = self.options
        source = {"sourceRef": {"name": "fleet"}, "interval": "1h"}
        windows = {"windows": [{"cron": "0 8 * * *", "duration": "10h"}]} if options.window else {}
        policies = [
            object_(
                "ImagePolicy",
                app,
                {
                    "image": self.images[app],
                    "insecure": True,
                    "interval": "1h",
                    "policy": {"semver": {"range": "*"}},
                    "digestReflectionPolicy": options.reflection,
                    **windows,
                    **({"approvals": 1} if options.approvals and app == "api" else {}),
                },
            )
            for app in APPS
        ]
        rollback = {"rollback": {"onFailure": options.on_failure}}
        return [
            *policies,
            object_("GitRepository", "fleet", {"url": f"file://{self.bare}", "ref": {"branch": "main"}}),
            object_("ImageUpdateAutomation", "all", source),
            object_("Kustomization", "apps", {**source, "path": "apps", "prune": True, **rollback}),
        ]

    async def close(self) -> None:
        for home in self.homes:
            await home.close()

    # ---------------------------------------------------------------------------------------------- the registry

    def push(self, app: str, tag: str, *, good: bool, content: str | None = None) -> None:
        """`content`: the bytes of another tag."""
        self.contents += 1
        text = content or f"{self.name} {self.contents}"
        digest = self.registry.push(f"{self.name}/{app}", tag, created=START - timedelta(days=1), content=text)
        self.fates.setdefault(str(digest), good)
        self.texts = {**getattr(self, "texts", {}), str(digest): text}

    def tags(self, app: str) -> list[str]:
        """Lowest first."""
        return sorted(self.registry.contents.repository(f"{self.name}/{app}").order(), key=order)

    def bytes_of(self, app: str, tag: str) -> str | None:
        found = self.registry.contents.repository(f"{self.name}/{app}").resolve(tag)
        return str(found[0]) if found is not None else None

    def digest_of(self, image: str) -> str | None:
        """What a kubelet pulls."""
        app = next(app for app in APPS if image.startswith((f"{self.images[app]}:", f"{self.images[app]}@")))
        tag, digest = value_of(image)
        return digest or self.bytes_of(app, tag)

    # ---------------------------------------------------------------------------------------------- Git

    @staticmethod
    def file(app: str) -> str:
        return f"apps/{app}.yaml"

    @property
    def tip(self) -> str:
        return str(self.git.references["refs/heads/main"].target)

    def text(self, app: str, commit: str | None = None) -> str:
        tree: Any = self.git[commit or self.tip].peel(pygit2.Tree)
        return str(tree[self.file(app)].data.decode())

    def image_in(self, app: str, commit: str | None = None) -> str:
        found = re.search(r"image: +(\S+)", self.text(app, commit))
        assert found is not None
        return found[1]

    def value(self, app: str) -> Image:
        return value_of(self.image_in(app))

    def commit(self, files: dict[str, str], message: str) -> str:
        """A person's, on whatever the branch holds."""
        index = pygit2.Index()
        born = "refs/heads/main" in self.git.references
        if born:
            index.read_tree(self.git[self.tip].peel(pygit2.Tree))
        for path, text in files.items():
            blob = self.git.create_blob(text.encode())
            index.add(pygit2.IndexEntry(path, blob, pygit2.enums.FileMode.BLOB))
        who = pygit2.Signature(PERSON, "person@example.com", int(self.now.timestamp()), 0)
        parents = [self.git.references["refs/heads/main"].target] if born else []
        made = self.git.create_commit("refs/heads/main", who, who, message, index.write_tree(self.git), parents)
        return str(made)

    def by_hand(self, app: str, value: Image, message: str = "By hand") -> str:
        tag, digest = value
        image = f"{self.images[app]}:{tag}" + (f"@{digest}" if digest else "")
        text = self.text(app).replace(self.image_in(app), image)
        return self.commit({self.file(app): text}, message)

    def say(self, trailer: str, app: str | None = None) -> None:
        """A word of a person: for the file of an app, or for the branch."""
        files = {self.file(app): self.text(app) + f"# {self.now:%H:%M:%S}\n"} if app is not None else {}
        self.commit(files, f"A word\n\n{trailer}\n")

    # ---------------------------------------------------------------------------------------------- objects

    def wishes(self, home: Home, app: str) -> Wishes:
        found = read_wishes(home.cluster.bodies["ImagePolicy", app]["metadata"].get("annotations") or {})
        return found[0]

    def wish(self, home: Home, app: str, new: Wish) -> None:
        body = home.cluster.bodies["ImagePolicy", app]
        made = to_annotations(wish(self.wishes(home, app), new))
        annotations = {name: text for name, text in made.items() if text is not None}
        home.cluster.put(object_("ImagePolicy", app, body["spec"], annotations=annotations))

    def is_frozen(self, home: Home, *, for_rollback: bool = False) -> bool:
        for (kind, _), body in home.cluster.bodies.items():
            if kind == "Freeze":
                spec = body["spec"]
                standing = "expires" not in spec or datetime.fromisoformat(spec["expires"]) > self.now
                if standing and not (for_rollback and spec.get("allowRollback")):
                    return True
        return False

    @property
    def is_open(self) -> bool:
        return not self.options.window or 8 <= self.now.hour < 18

    def quarantines(self, home: Home, app: str) -> list[Bad]:
        """Of people, in force."""
        found = []
        for (kind, _), body in home.cluster.bodies.items():
            spec = body["spec"]
            if kind != "Quarantine" or spec["image"] != self.images[app] or str(spec.get("source", "")):
                continue
            if "expires" not in spec or datetime.fromisoformat(spec["expires"]) > self.now:
                found.append(Bad(image=spec["image"], tag=spec.get("tag", ""), digest=spec.get("digest")))
        return found

    def is_barred(self, home: Home, app: str, value: Image) -> str:
        """Why nobody may write it."""
        tag, digest = value
        value = (tag, digest or self.bytes_of(app, tag))
        for bad in (*self.record, *self.quarantines(home, app)):
            if bad.bars(self.images[app], value):
                return f"{bad} bars {value}"
        denied = {each.what for each in self.wishes(home, app).denied}
        return f"denied: {denied}" if denied & {value[0], value[1]} else ""

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
        for line in commit.message.splitlines():
            key, _, text = line.partition(": ")
            if key == "Image-Updater":
                self.directives.insert(0, (text == "hold", frozenset(changed), when))
            elif key == "Release":
                image, _, tag = text.rpartition(":")
                released = [each for each in self.record if (each.image, each.tag) == (image, tag)]
                self.record = [each for each in self.record if each not in released]
                self.taken_back -= {(each.image, each.tag) for each in released}

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
                value = (old[0], old[1] or self.bytes_of(app, old[0]))
                assert any(bad.bars(self.images[app], value) for bad in found), f"{where}: nobody asked for it"
            entry = Entry(kind="rollback" if back else "ours", value=new, commit=str(commit.id), when=when)
            self.chains[app].append(entry)
        for text in trailers.get("Quarantine", ()):
            name, _, digest = text.partition("@")
            image, _, tag = name.rpartition(":")
            self.record.append(Bad(image=image, tag=tag, digest=digest or None))

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
            assert order(new[0]) > order(entry.value[0]), (
                f"{where}: {app} {entry.value} was taken back by {by.kind} in {by.commit[:8]}"
            )
        if self.options.approvals and app == "api":
            assert new[0] in {each.tag for each in self.wishes(home, app).approvals}, f"{where}: nobody approved it"
        assert not self.breakers.get((home.name, app)), f"{where}: the breaker is open"

    def _after_failure(self, home: Home, app: str, old: Image, where: str) -> None:
        assert not self.is_frozen(home, for_rollback=True), f"{where}: frozen"
        last = self.chains[app][-1]
        assert last.kind in ("ours", "squash"), f"{where}: {app} {old} was set by {last.kind}"
        key = (self.images[app], old[0] + (f"@{old[1]}" if old[1] else ""))
        assert key not in self.taken_back, f"{where}: rolled back twice"
        self.taken_back.add(key)

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
        chain, resumed = self.chains[app], self.wishes(home, app).resumed
        found = []
        for number, entry in enumerate(chain[:-1]):
            by = chain[number + 1]
            if entry.kind not in ("ours", "squash") or by.kind not in ("person", "rollback"):
                continue
            restored = any(each.kind == "person" and each.value == entry.value for each in chain[number + 1 :])
            if restored or by.value == entry.value or (resumed is not None and by.when <= resumed):
                continue
            found.append((entry, by))
        return found

    @property
    def breakers(self) -> dict[tuple[str, str], str]:
        return self._breakers

    _breakers: dict[tuple[str, str], str] = field(default_factory=dict)

    def note_breakers(self) -> None:
        self._breakers = {(home.name, app): home.breaker(app) for home in self.homes for app in APPS}

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

    def tell(self, text: str) -> None:
        self.story.append(f"{self.now:%H:%M} {text}")

    def log(self) -> str:
        lines = []
        for commit in self.git.walk(self.tip):
            when = datetime.fromtimestamp(commit.commit_time, UTC)
            more = " ".join(line for line in commit.message.splitlines()[1:] if line.startswith(("Quar", "Roll", "Rel")))
            lines.append(f"  {str(commit.id)[:8]} {when:%H:%M} {commit.author.name}: {commit.message.splitlines()[0]} {more}")
        values = {app: self.value(app) for app in APPS}
        return "\n".join([*self.story, *lines, json.dumps(values)])


__all__ = ["APPS", "SPACE", "Image", "Killed", "Options", "World", "order"]
