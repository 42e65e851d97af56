"""Faults of a document: where, what, and what would be right."""

from __future__ import annotations

import msgspec
import pytest

from companion.settings import Config, SessionSettings
from companion.strict import Fault, allowed, fault, names_at, nearest


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("speed", "0.25 to 1.5"),
        ("temperature", "0.6 to 1.2"),
        ("max_output_tokens", "1 to 4096 or inf"),
        ("vad_idle_timeout_ms", "5000 to 30000"),
        ("vad_interrupts", "true or false"),
        ("input_codec", "g711_alaw, g711_ulaw, pcm16"),
        ("truncation", "auto, disabled or a table of retention_ratio, post_instructions"),
        ("truncation.retention_ratio", "0 to 1"),
        ("voice", "text or a table of id"),
        ("tools[0].name", "letters, digits, _ and -, at most 64"),
        ("tool_choice.name", "letters, digits, _ and -, at most 64"),
        ("language", "a code such as en or pt-BR"),
        ("instructions", ""),
        ("nothing.there", ""),
    ],
)
def test_what_a_setting_takes(path: str, says: str) -> None:
    assert allowed(SessionSettings, path) == says


def test_ranges_that_are_open_on_one_side() -> None:
    assert allowed(Config, "providers.local.session_minutes") == "more than 0 to 1440"
    assert allowed(Config, "providers.local.forget_after_days") == "more than 0"


def test_names_and_faults() -> None:
    assert "retention_ratio" in names_at(SessionSettings, "truncation")
    assert names_at(SessionSettings, "speed") == []
    assert nearest("x", []) == ""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"tools": [{"name": 1}]}, SessionSettings)
    assert fault(caught.value) == Fault("type", "tools[0].name", "Expected `str`, got `int`")
