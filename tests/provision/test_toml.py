"""What is written as TOML is read back the same by the standard library."""

from __future__ import annotations

import math
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.toml import dumps

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_PLAIN = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _TEXT
_VALUES = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3)
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=4))
def test_every_document_comes_back(values: dict[str, Any]) -> None:
    assert tomllib.loads(dumps(values)) == values


def test_tables_come_after_the_plain_keys_and_no_number_is_lost() -> None:
    text = dumps({"a": {"b": {"c d": 1}}, "e": [{"f": math.inf}], "g": 1e-7})
    assert text.index("g = ") < text.index("[a]") < text.index('"c d"')
    assert tomllib.loads(text)["e"] == [{"f": math.inf}]


def test_what_no_setting_can_be_is_refused() -> None:
    with pytest.raises(TypeError, match="None is no text, number"):
        dumps({"a": None})
