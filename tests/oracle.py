"""Does a JSON value have the type that another party's TypedDict says, to the last field?

For messages that are checked with the types of a vendor's own package; extra fields are forbidden.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict


def complaints(value: Any, wanted: Any, at: str = "$") -> list[str]:
    """Return what is wrong with `value`, one line for each fault; nothing when it has the type."""
    origin = get_origin(wanted)
    if wanted in (Any, object):
        return []
    if is_typeddict(wanted):
        return _typed_dict(value, wanted, at)
    if origin is None:
        return _plain(value, wanted, at)
    return _generic(value, origin, get_args(wanted), at)


def _generic(value: Any, origin: Any, args: tuple[Any, ...], at: str) -> list[str]:
    if origin in (Required, NotRequired):
        return complaints(value, args[0], at)
    if origin is Literal:
        return [] if value in args else [f"{at}: {value!r} is none of {args}"]
    if origin in (Union, types.UnionType):
        return _union(value, args, at)
    if issubclass(origin, Mapping):
        return _mapping(value, args[1], at)
    assert issubclass(origin, Iterable), origin
    return _list(value, args[0], at)


def _typed_dict(value: Any, wanted: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no {wanted.__name__}"]
    hints = get_type_hints(wanted, include_extras=True)
    # Not __required_keys__: it cannot see Required through annotations that are strings.
    required = {name for name, hint in hints.items() if get_origin(hint) is Required}
    missing = [f"{at}: {name} is missing" for name in required - value.keys()]
    unknown = [f"{at}: {name} is unknown to {wanted.__name__}" for name in value.keys() - hints.keys()]
    inner = [complaints(value[name], hints[name], f"{at}.{name}") for name in hints.keys() & value.keys()]
    return [*missing, *unknown, *(line for lines in inner for line in lines)]


def _union(value: Any, branches: Iterable[Any], at: str) -> list[str]:
    """Take the branch of the right `type`, then the one with the fewest faults: its complaints say most."""
    found = [complaints(value, branch, at) for branch in branches]
    return min(found, key=lambda lines: (any(line.startswith(f"{at}.type:") for line in lines), len(lines)))


def _mapping(value: Any, inner: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no object"]
    return [line for key, one in value.items() for line in complaints(one, inner, f"{at}.{key}")]


def _list(value: Any, inner: Any, at: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{at}: {value!r} is no list"]
    return [line for place, one in enumerate(value) for line in complaints(one, inner, f"{at}[{place}]")]


def _plain(value: Any, wanted: Any, at: str) -> list[str]:
    kinds = {float: (int, float), type(None): (type(None),), None: (type(None),)}.get(wanted, (wanted,))
    right = isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)
    return [] if right else [f"{at}: {value!r} is no {getattr(wanted, '__name__', wanted)}"]
