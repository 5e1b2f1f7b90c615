"""Secret (core v1) as it stands in an objects file: decoded here, printed nowhere, not even in errors."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from image_updater.api.decode import INVALID, At, Invalid, is_text, kind_of
from image_updater.api.fields import Field, Flag, Ignored, MapOf, Struct, Text, Type, Values
from image_updater.api.model import Meta, Secret
from image_updater.documents import Node, Scalar, resolve


class Base64(Type):
    """Base64 text to bytes; white space inside is fine, as it is for the server."""

    def read(self, node: Node, at: At) -> bytes | Invalid:
        target = resolve(node)
        if not isinstance(target, Scalar):
            return at.fail(f"must be a string, not {kind_of(node)}", node=node, remedy="write one text a key")
        try:
            return base64.b64decode("".join(target.value.split()), validate=True)
        except (binascii.Error, ValueError):
            at.fail("is not base64", node=node, remedy="encode it, or put the plain text under stringData")
            return INVALID

    def describe(self) -> str:
        return "base64"


class Plain(Type):
    """Text to bytes; a number is refused without being repeated."""

    def read(self, node: Node, at: At) -> bytes | Invalid:
        target = resolve(node)
        if not isinstance(target, Scalar):
            return at.fail(f"must be a string, not {kind_of(node)}", node=node, remedy="write one text a key")
        if not is_text(target):
            return at.fail("must be a string, but YAML reads it as something else", node=node, remedy="quote it")
        return target.value.encode()

    def describe(self) -> str:
        return "string"


SECRET: Final = Struct(
    fields=(
        Field(name="type", type=Text(), default="Opaque", doc="type of the Secret"),
        Field(name="data", type=MapOf(value=Base64()), default={}, doc="values in base64, by key"),
        Field(name="stringData", type=MapOf(value=Plain()), default={}, doc="values as text, by key; wins over data"),
        Field(name="immutable", type=Flag(), default=False, doc="not used"),
        *(Field(name=name, type=Ignored(), doc="read elsewhere") for name in ("apiVersion", "kind", "metadata")),
    )
)


def build_secret(meta: Meta, values: Values) -> Secret:
    return Secret(meta=meta, type=values["type"], data={**values["data"], **values["stringData"]})
