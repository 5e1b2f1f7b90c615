"""Generated repositories: bases, a middle level, components, overlays, with everything that can move an image."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import strategies as st

NAMES = ("nginx", "acme/nginx", "ghcr.io/acme/web", "localhost:5000/app", "redis")
TAGS = ("1.0", "1.10", "v2", "main-0a1b2c")
DIGESTS = tuple("sha256:" + c * 64 for c in "ab")
CONTAINERS = ("a", "b", "c")
KINDS = {
    "Deployment": ("apps/v1", ("spec", "template", "spec")),
    "StatefulSet": ("apps/v1", ("spec", "template", "spec")),
    "CronJob": ("batch/v1", ("spec", "jobTemplate", "spec", "template", "spec")),
    "Pod": ("v1", ("spec",)),
    "Rollout": ("argoproj.io/v1alpha1", ("spec", "template", "spec")),
}
OBJECTS = (
    ("Deployment", "web"),
    ("Deployment", "api"),
    ("StatefulSet", "db"),
    ("CronJob", "job"),
    ("Pod", "pod"),
    ("Rollout", "roll"),
)

Repository = dict[str, str]


def dump(value: Any, style: str) -> str:
    if style == "json":
        return json.dumps(value, indent=2) + "\n"
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=style == "flow")


@st.composite
def references(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(NAMES))
    if draw(st.integers(0, 3)):
        text += ":" + draw(st.sampled_from(TAGS))
    if not draw(st.integers(0, 5)):
        text += "@" + draw(st.sampled_from(DIGESTS))
    return text


def nested(path: tuple[str, ...], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


@st.composite
def workloads(draw: st.DrawFn, kind: str, name: str) -> dict[str, Any]:
    api, path = KINDS[kind]
    names = draw(st.lists(st.sampled_from(CONTAINERS), min_size=1, max_size=3, unique=True))
    spec: dict[str, Any] = {"containers": [{"name": n, "image": draw(references())} for n in names]}
    if not draw(st.integers(0, 3)):
        spec["initContainers"] = [{"name": "init", "image": draw(references())}]
    if not draw(st.integers(0, 5)):
        spec["ephemeralContainers"] = [{"name": "debug", "image": draw(references())}]
    meta: dict[str, Any] = {"name": name, "labels": {"app": name, "tier": draw(st.sampled_from(["x", "y"]))}}
    if not draw(st.integers(0, 7)):
        meta["namespace"] = "own"
    return {"apiVersion": api, "kind": kind, "metadata": meta, **nested(path, spec)}


@st.composite
def entries(draw: st.DrawFn) -> list[dict[str, str]]:
    found = []
    for _ in range(draw(st.integers(1, 3))):
        entry = {"name": draw(st.sampled_from((*NAMES, "ngi.x", "acme/.*", "(redis|nginx)", "nginx:1.0")))}
        for key, values in (("newName", NAMES), ("newTag", TAGS), ("digest", DIGESTS)):
            if draw(st.integers(0, 2 if key != "digest" else 4)) == 0:
                entry[key] = draw(st.sampled_from(values))
        found.append(entry)
    return found


@st.composite
def strategic(draw: st.DrawFn, objects: list[tuple[str, str]]) -> tuple[dict[str, Any], str]:
    """A strategic merge patch, and the kind it is for."""
    kind, name = draw(st.sampled_from(objects))
    api, path = KINDS[kind]
    containers: list[dict[str, Any]] = []
    for n in draw(st.lists(st.sampled_from(CONTAINERS), min_size=1, max_size=2, unique=True)):
        container: dict[str, Any] = {"name": n}
        what = draw(st.integers(0, 9))
        if what == 0:
            container["$patch"] = "delete"
        elif what == 1:
            container["env"] = [{"name": "A", "value": "b"}]
        elif what == 2:
            container["image"] = None
        else:
            container["image"] = draw(references())
        containers.append(container)
    if draw(st.integers(0, 11)) == 0:
        containers.append({"$patch": "replace"})
    spec: dict[str, Any] = {"containers": containers}
    if draw(st.integers(0, 5)) == 0:
        spec["initContainers"] = [{"name": "init", "image": draw(references())}]
    elif draw(st.integers(0, 9)) == 0:
        spec["initContainers"] = None
    body = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **nested(path, spec)}
    if draw(st.integers(0, 9)) == 0:
        body["metadata"]["annotations"] = {"image-updater.dev/policy": "semver ^1"}
    if draw(st.integers(0, 24)) == 0:
        body = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "$patch": "delete"}
    return body, kind


@st.composite
def operations(draw: st.DrawFn, kind: str, fresh: str) -> list[dict[str, Any]]:
    spec = "/" + "/".join(KINDS[kind][1])  # `fresh`: containers of one name twice are no valid objects
    found: list[dict[str, Any]] = []
    for i in range(draw(st.integers(1, 2))):
        what = draw(st.integers(0, 5))
        if what <= 2:
            found.append({"op": "replace", "path": f"{spec}/containers/0/image", "value": draw(references())})
        elif what == 3:
            position = draw(st.sampled_from(["-", "0"]))
            found.append(
                {
                    "op": "add",
                    "path": f"{spec}/containers/{position}",
                    "value": {"name": f"{fresh}-{i}", "image": draw(references())},
                }
            )
        elif what == 4:
            found.append(
                {
                    "op": "add",
                    "path": f"{spec}/initContainers",
                    "value": [{"name": "init", "image": draw(references())}],
                }
            )
        else:
            found.append({"op": "copy", "from": f"{spec}/containers/0/image", "path": f"{spec}/containers/0/extra"})
    return found


@st.composite
def kustomizations(
    draw: st.DrawFn, folder: str, files: Repository, objects: list[tuple[str, str]], resources: list[str], kind: str
) -> None:
    """Writes the kustomization of one folder and the files it needs."""
    tree: dict[str, Any] = {}
    if kind == "Component":
        tree |= {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
    if resources:
        tree["resources"] = resources

    def chance(n: int) -> bool:
        return draw(st.integers(0, n)) == 0

    def put(name: str, value: Any) -> str:
        files[f"{folder}/{name}"] = dump(value, draw(st.sampled_from(["block", "flow", "json"])))
        return name

    if kind != "Component":
        if chance(4):
            tree["namePrefix"] = "p-"
        if chance(6):
            tree["nameSuffix"] = "-s"
        if chance(4):
            tree["namespace"] = draw(st.sampled_from(["prod", "stage"]))
        if chance(9):
            tree["commonAnnotations"] = {"image-updater.dev/ignore": "false"}
        if chance(9):
            tree["labels"] = [{"pairs": {"tier": "z"}}]
    if objects and chance(2):
        patches: list[dict[str, Any]] = []
        for i in range(draw(st.integers(1, 2))):
            style = draw(st.integers(0, 5))
            if style <= 1:
                body, _ = draw(strategic(objects))
                patches.append({"patch": dump(body, "block")} if chance(1) else {"path": put(f"patch{i}.yaml", body)})
            elif style == 2:
                body, k = draw(strategic(objects))
                target = draw(
                    st.sampled_from([{"kind": k}, {"kind": k, "name": ".*"}, {"kind": k, "labelSelector": "tier=x"}])
                )
                patches.append({"patch": dump(body, "block"), "target": target})
            elif style == 3:
                one, _ = draw(strategic(objects))
                two, _ = draw(strategic(objects))
                files[f"{folder}/many{i}.yaml"] = dump(one, "block") + "---\n" + dump(two, "block")
                patches.append({"path": f"many{i}.yaml"})
            else:
                k = draw(st.sampled_from(objects))[0]
                body_ = draw(operations(k, f"{folder}-{len(files)}"))
                entry: dict[str, Any] = {"target": {"kind": k}}
                patches.append(
                    entry | ({"patch": dump(body_, "block")} if chance(1) else {"path": put(f"json{i}.yaml", body_)})
                )
        tree["patches"] = patches
    if objects and chance(6):
        tree["patchesStrategicMerge"] = [put("smp.yaml", draw(strategic(objects))[0])]
    if objects and chance(6):
        k, n = draw(st.sampled_from(objects))
        api = KINDS[k][0]
        group, _, version = api.rpartition("/")
        target = {"version": version, "kind": k, "name": n} | ({"group": group} if group else {})
        tree["patchesJson6902"] = [
            {"target": target, "path": put("j.yaml", draw(operations(k, f"{folder}-{len(files)}")))}
        ]
    if chance(1):
        tree["images"] = draw(entries())
    if objects and chance(5):
        k, n = draw(st.sampled_from(objects))
        path = ".".join(KINDS[k][1])
        field, options = draw(
            st.sampled_from([("data.image", {}), ("data.tag", {"options": {"delimiter": ":", "index": 1}})])
        )
        target: dict[str, Any] = {
            "select": {"kind": k},
            "fieldPaths": [f"{path}.containers.*.image" if chance(1) else f"{path}.containers.0.image"],
            **options,
        }
        source: dict[str, Any] = {"kind": "ConfigMap", "name": "cm", "fieldPath": field}
        if chance(3):
            k2, n2 = draw(st.sampled_from(objects))
            source = {"kind": k2, "name": n2, "fieldPath": ".".join(KINDS[k2][1]) + ".containers.0.image"}
            if options:
                source["options"] = {"delimiter": ":", "index": 1}
        tree["replacements"] = [{"source": source, "targets": [target]}]
    if chance(9):
        body_t = {
            "apiVersion": "builtin",
            "kind": "ImageTagTransformer",
            "metadata": {"name": "t"},
            "imageTag": draw(entries())[0],
        }
        if chance(1):
            body_t["fieldSpecs"] = [{"path": "spec/template/spec/containers[]/image"}]
        tree["transformers"] = [put("transformer.yaml", body_t)]
    if chance(7):
        tree["configMapGenerator"] = [{"name": "gen", "literals": ["a=b"]}]
    files[f"{folder}/kustomization.yaml"] = dump(
        tree or {"resources": []}, draw(st.sampled_from(["block", "block", "flow"]))
    )


@st.composite
def repositories(draw: st.DrawFn) -> tuple[Repository, list[str]]:
    """Files, and the folders that are roots."""
    files: Repository = {}
    chosen = draw(st.lists(st.sampled_from(OBJECTS), min_size=1, max_size=3, unique=True))
    bodies = [draw(workloads(kind, name)) for kind, name in chosen]
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cm"},
        "data": {"image": draw(references()), "tag": draw(st.sampled_from(TAGS))},
    }
    how = draw(st.integers(0, 2))
    if how == 0:
        resources = []
        for i, body in enumerate([*bodies, config]):
            files[f"base/r{i}.yaml"] = dump(body, draw(st.sampled_from(["block", "flow", "json"])))
            resources.append(f"r{i}.yaml")
    elif how == 1:
        files["base/all.yaml"] = "---\n".join(dump(body, "block") for body in [*bodies, config])
        resources = ["all.yaml"]
    else:
        files["base/list.yaml"] = dump({"apiVersion": "v1", "kind": "List", "items": [*bodies, config]}, "block")
        resources = ["list.yaml"]
    draw(kustomizations("base", files, chosen, resources, "Kustomization"))
    below = "base"
    if draw(st.booleans()):
        draw(kustomizations("mid", files, chosen, ["../base"], "Kustomization"))
        below = "mid"
    components = draw(st.integers(0, 2))
    for i in range(components):
        draw(kustomizations(f"comp{i}", files, chosen, [], "Component"))
    roots = []
    used: set[int] = set()
    for i in range(draw(st.integers(1, 2))):
        folder = f"over{i}"
        draw(kustomizations(folder, files, chosen, [f"../{below}"], "Kustomization"))
        mine = [c for c in range(components) if draw(st.booleans())]
        if mine:
            used |= set(mine)
            tree = yaml.safe_load(files[f"{folder}/kustomization.yaml"])
            tree["components"] = [f"../comp{c}" for c in mine]
            files[f"{folder}/kustomization.yaml"] = dump(tree, "block")
        roots.append(folder)
    return files, roots
