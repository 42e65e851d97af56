"""Turn msgspec's validation errors into a place, a kind and the nearest right name."""

from __future__ import annotations

import difflib
import re
from typing import Any, Literal, NamedTuple

import msgspec

Kind = Literal["unknown", "missing", "type", "value"]

_PLACE = re.compile(r" - at `(?:key in )?\$?(?P<path>.*)`$")
_NAME = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")


class Fault(NamedTuple):
    """One thing wrong in a document. `path` is dotted ("session.audio"); `text` is one clause without it."""

    kind: Kind
    path: str
    text: str


def fault(error: msgspec.ValidationError) -> Fault:
    """Read where and what from the error's text."""
    text = str(error)
    place = _PLACE.search(text)
    path = place["path"].lstrip(".") if place else ""
    clause = text[: place.start()] if place else text
    named = _NAME.search(clause)
    if named:
        kind: Kind = "unknown" if "unknown field" in clause else "missing"
        return Fault(kind, f"{path}.{named['name']}".lstrip("."), clause)
    kind = "type" if clause.startswith("Expected") and ", got " in clause else "value"
    return Fault(kind, path, clause)


def nearest(name: str, known: list[str]) -> str:
    """Return ` Did you mean "x"?`, or the list of names when none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f' Did you mean "{near[0]}"?'
    return f" Known here: {', '.join(sorted(known))}." if known else ""


def names_at(kind: Any, path: str) -> list[str]:
    """Return the field names of the struct at the dotted `path` under the type `kind`."""
    info = _plain(_at(kind, path))
    return (
        [field.encode_name for field in info.fields] if isinstance(info, msgspec.inspect.StructType) else []
    )


def allowed(kind: Any, path: str) -> str:
    """Return the values that the field at `path` takes, such as "0.25 to 1.5", or "" when any will do.

    What has a pattern says it in words, in its `description`.
    """
    info = _at(kind, path)
    if isinstance(info, msgspec.inspect.Metadata):
        return str((info.extra_json_schema or {}).get("description", ""))
    return _values(info)


def _at(kind: Any, path: str) -> Any:
    info: Any = msgspec.inspect.type_info(kind)
    for step in filter(None, re.split(r"[.\[]", path)):
        info = _step(_plain(info), step)
    return info


def _plain(info: Any) -> Any:
    if isinstance(info, msgspec.inspect.UnionType):
        return next((part for part in info.types if isinstance(part, msgspec.inspect.StructType)), info)
    return info


def _step(info: Any, name: str) -> Any:
    if isinstance(info, msgspec.inspect.DictType):
        return info.value_type
    if isinstance(info, msgspec.inspect.ListType):
        return info.item_type
    if isinstance(info, msgspec.inspect.StructType):
        return next((field.type for field in info.fields if field.encode_name == name), None)
    return None


def _values(info: Any) -> str:
    match info:
        case msgspec.inspect.UnionType(types):
            text = ("text",) if any(isinstance(one, msgspec.inspect.StrType) for one in types) else ()
            return " or ".join(filter(None, (*text, *map(_values, types))))
        case msgspec.inspect.LiteralType(values):
            return ", ".join(map(str, values))
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return _range(info)
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.StructType(fields=fields):
            return f"a table of {', '.join(field.encode_name for field in fields)}"
    return ""


def _range(info: Any) -> str:
    least = info.ge if info.gt is None else info.gt
    if least is None:
        return ""
    start = f"{least:g}" if info.gt is None else f"more than {least:g}"
    return start if info.le is None else f"{start} to {info.le:g}"
