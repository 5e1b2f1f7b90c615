"""The grammar of references: what is accepted, what is one image, and where a rendered string is cut."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_updater.errors import SpecError
from image_updater.images import is_digest, is_tag, parse_name, parse_ref, same_image, split

HEX = "0123456789abcdef" * 4
SHA = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "registry", "repository"),
    [
        ("nginx", "docker.io", "library/nginx"),
        ("library/nginx", "docker.io", "library/nginx"),
        ("docker.io/nginx", "docker.io", "library/nginx"),
        ("docker.io/library/nginx", "docker.io", "library/nginx"),
        ("index.docker.io/nginx", "docker.io", "library/nginx"),
        ("registry-1.docker.io/library/nginx", "docker.io", "library/nginx"),
        ("Docker.IO/nginx", "docker.io", "library/nginx"),
        ("acme/web", "docker.io", "acme/web"),
        ("a/b/c", "docker.io", "a/b/c"),
        ("ghcr.io/acme/web", "ghcr.io", "acme/web"),
        ("GHCR.io/acme/web", "ghcr.io", "acme/web"),
        ("ghcr.io/web", "ghcr.io", "web"),
        ("UPPER/web", "UPPER", "web"),
        ("localhost/web", "localhost", "web"),
        ("localhost:5000/web", "localhost:5000", "web"),
        ("registry:5000/a/b", "registry:5000", "a/b"),
        ("10.0.0.1:5000/web", "10.0.0.1:5000", "web"),
        ("[::1]:5000/web", "[::1]:5000", "web"),
        ("[::1]/web", "[::1]", "web"),
        ("[2001:DB8:0:0::1]/web", "[2001:db8::1]", "web"),
        ("host.example:05000/web", "host.example:5000", "web"),
        ("docker.io:443/nginx", "docker.io:443", "nginx"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "a/b"),
        ("acme/my__web--x.y_z", "docker.io", "acme/my__web--x.y_z"),
        (f"acme/{HEX}", "docker.io", f"acme/{HEX}"),
    ],
)
def test_a_name_has_a_canonical_registry_and_repository(text: str, registry: str, repository: str) -> None:
    name = parse_name(text)
    assert (name.registry, name.repository) == (registry, repository)
    assert str(name) == text
    assert parse_name(name.canonical) == name


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "expected"),
        ("/", "expected"),
        ("Nginx", "lower case"),
        ("acme/Web", "lower case"),
        ("acme//web", "expected"),
        ("acme/web/", "expected"),
        ("/web", "expected"),
        ("-web", "expected"),
        ("web-", "expected"),
        ("a___b", "expected"),
        ("a..b/c/", "expected"),
        ("acme web", "expected"),
        ("acme/web\n", "expected"),
        ("https://ghcr.io/acme/web", "scheme"),
        ("nginx:1.2", "tag"),
        ("localhost:5000", "tag"),
        ("ghcr.io/acme/web:1", "tag"),
        (f"nginx@{SHA}", "digest"),
        (HEX, "expected"),
        ("host:0/web", "expected"),
        ("host:65536/web", "expected"),
        ("host:port/web", "expected"),
        ("-host.io/web", "expected"),
        ("host-.io/web", "expected"),
        ("ho_st.io/web", "expected"),
        ("[::1/web", "expected"),
        ("[::g]/web", "expected"),
        ("[1::2::3]/web", "expected"),
        ("höst.io/web", "expected"),
        ("ghcr.io/wéb", "expected"),
        ("ghcr.io/" + "a" * 256, "expected"),
    ],
)
def test_what_is_no_name_is_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_name(text)
    assert repr(text) in caught.value.message
    assert caught.value.remedy is not None
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "name", "tag", "digest"),
    [
        ("nginx", "nginx", None, None),
        ("nginx:1.27", "nginx", "1.27", None),
        (f"nginx@{SHA}", "nginx", None, SHA),
        (f"nginx:1.27@{SHA}", "nginx", "1.27", SHA),
        ("localhost:5000/web", "localhost:5000/web", None, None),
        ("localhost:5000/web:v1", "localhost:5000/web", "v1", None),
        ("[::1]:5000/web:v1", "[::1]:5000/web", "v1", None),
        ("[::1]/web", "[::1]/web", None, None),
        ("host:5000", "host", "5000", None),
        ("a/b:_x.y-z", "a/b", "_x.y-z", None),
    ],
)
def test_a_reference_has_name_tag_and_digest(text: str, name: str, tag: str | None, digest: str | None) -> None:
    ref = parse_ref(text)
    assert (str(ref.name), ref.tag, ref.digest) == (name, tag, digest)
    assert str(ref) == text
    assert split(text) == (name, tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "nginx:",
        "nginx:.x",
        "nginx:-x",
        f"nginx:{'a' * 129}",
        "nginx@",
        "nginx@sha256:abc",
        f"nginx@{SHA}0",
        f"nginx:@{SHA}",
        f"@{SHA}",
        ":1",
        f"nginx@SHA256:{HEX}",
        f"nginx@{SHA}@{SHA}",
        "nginx:1 ",
        "nginx:1\n",
        "a b:1",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_ref(text)


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        ("1", True),
        ("_", True),
        ("v1.2_3-x", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        (".a", False),
        ("-a", False),
        ("a+b", False),
        ("a\n", False),
        ("é", False),
        ("٣", False),
        ("a b", False),
        ("a:b", False),
    ],
)
def test_tags_are_those_of_the_distribution_specification(text: str, legal: bool) -> None:
    assert is_tag(text) is legal


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        (SHA, True),
        (f"sha512:{HEX}{HEX}", True),
        (f"sha384:{HEX}{HEX[:32]}", True),
        (f"blake3:{HEX}", True),
        (f"multihash+base58:{HEX}", True),
        (f"sha256:{HEX[:-1]}", False),
        (f"sha512:{HEX}", False),
        (f"sha256:{HEX.upper()}", False),
        (HEX, False),
        ("sha256:", False),
        (f"{SHA}\n", False),
    ],
)
def test_digests_have_the_length_of_their_algorithm(text: str, legal: bool) -> None:
    assert is_digest(text) is legal


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", None, None)),
        (":", ("", "", None)),
        ("@", ("", None, "")),
        ("nginx:", ("nginx", "", None)),
        ("nginx@", ("nginx", None, "")),
        ("nginx:1@", ("nginx", "1", "")),
        ("host:5000/web", ("host:5000/web", None, None)),
        ("host:5000/web:1", ("host:5000/web", "1", None)),
        ("a/b@sha256:x", ("a/b", None, "sha256:x")),
        ("a/b:1@sha256:x", ("a/b", "1", "sha256:x")),
        ("$(IMAGE)", ("$(IMAGE)", None, None)),
        ("${REGISTRY}/web:${TAG}", ("${REGISTRY}/web", "${TAG}", None)),
        ("{{ image }}:latest", ("{{ image }}", "latest", None)),
    ],
)
def test_any_string_is_cut_as_kustomize_cuts_it(text: str, parts: tuple[str, str | None, str | None]) -> None:
    assert split(text) == parts


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("nginx", True),
        ("nginx:1.2", True),
        ("docker.io/library/nginx:1.2", True),
        ("index.docker.io/nginx@sha256:whatever", True),
        ("nginx2", False),
        ("quay.io/library/nginx", False),
        ("localhost:5000/nginx", False),
        ("", False),
        ("Not An Image", False),
    ],
)
def test_rendered_strings_name_an_image_by_meaning(text: str, same: bool) -> None:
    assert same_image(text, parse_name("docker.io/library/nginx")) is same


_component = st.from_regex(r"[a-z0-9]{1,5}(?:(?:\.|_|__|-{1,2})[a-z0-9]{1,5}){0,2}", fullmatch=True)
_path = st.lists(_component, min_size=1, max_size=3).map("/".join)
_host = st.one_of(
    st.from_regex(r"[a-zA-Z0-9]{1,6}\.[a-z]{2,3}(?::[1-9][0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["localhost", "localhost:5000", "[::1]", "[fe80::1]:443", "docker.io", "index.docker.io"]),
)
_names = st.one_of(_path.filter(lambda p: "." not in p.partition("/")[0]), st.builds("{}/{}".format, _host, _path))
_tags = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=20).filter(is_tag)
_digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)


@settings(max_examples=150, deadline=None)
@given(_names, st.none() | _tags, st.none() | _digests)
def test_references_survive_a_round_trip(name: str, tag: str | None, digest: str | None) -> None:
    text = name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    ref = parse_ref(text)
    assert str(ref) == text
    assert (str(ref.name), ref.tag, ref.digest) == (name, tag, digest) == split(text)
    assert parse_name(ref.name.canonical) == ref.name
    assert same_image(text, ref.name)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.text("a/:@.[]A0-", max_size=20))
def test_a_split_loses_no_character_and_never_raises(text: str) -> None:
    name, tag, digest = split(text)
    assert name + ("" if tag is None else f":{tag}") + ("" if digest is None else f"@{digest}") == text
    same_image(text, parse_name("nginx"))
