"""A registry, a branch, people, and the homes that write there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pygit2

from image_updater.api.wishes import Wishes, read_wishes, to_annotations, wish
from tests.unit.closed_loop.clusters import FakeCluster, object_, value_of
from tests.unit.closed_loop.homes import Common, Home

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

BROKEN: Final = "      hostNetwork: true\n"
"""At the end of a pod template: with it no container starts."""

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
    taken_back: set[Bad] = field(default_factory=set)
    """What went back after a failure, since the last Release of it."""
    granted: set[tuple[str, str]] = field(default_factory=set)
    """App and moment of wishes to roll back that a commit answered."""
    directives: list[tuple[bool, frozenset[str], datetime]] = field(default_factory=list)
    """Holds and resumes of commits, newest first; no file = the branch."""
    breakers: dict[tuple[str, str], str] = field(default_factory=dict)
    """By home and app, when the home began to work."""
    ran: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """By home and app the bytes that ran when the home began to work."""
    texts: dict[str, str] = field(default_factory=dict)
    """By digest what an image was made of."""
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
            is_broken=self.is_broken,
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
        self.texts[str(digest)] = text

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

    def is_broken(self, app: str) -> bool:
        """Can no image run as people have configured it?"""
        return BROKEN in self.text(app)

    def configure(self, app: str, *, broken: bool) -> None:
        """A person breaks the configuration of an app, or mends it."""
        text = self.text(app).replace(BROKEN, "")
        self.commit({self.file(app): text + BROKEN if broken else text}, "Configure")

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

    def tell(self, text: str) -> None:
        self.story.append(f"{self.now:%H:%M} {text}")

    def log(self) -> str:
        lines = []
        for commit in self.git.walk(self.tip):
            when = datetime.fromtimestamp(commit.commit_time, UTC)
            more = " ".join(
                line for line in commit.message.splitlines()[1:] if line.startswith(("Quar", "Roll", "Rel"))
            )
            lines.append(
                f"  {str(commit.id)[:8]} {when:%H:%M} {commit.author.name}: {commit.message.splitlines()[0]} {more}"
            )
        values = {app: self.value(app) for app in APPS}
        return "\n".join([*self.story, *lines, json.dumps(values)])
