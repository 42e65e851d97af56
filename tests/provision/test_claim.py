"""A claim on its way to a device: whole, of the right companion, and never shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from provision.claim import is_companion, read_claim
from provision.errors import SecretError
from tests.provision.targets import URL, target

if TYPE_CHECKING:
    from pathlib import Path

_OWN = 'claim = { file = "claim.json" }\nconfig = { backend = { url = "https://other.example" } }'


def test_it_goes_to_the_device_as_the_companion_wrote_it(tmp_path: Path) -> None:
    text = json.dumps({"url": f"{URL}/", "claim": "word"})
    (tmp_path / "claim.json").write_text(text)
    assert read_claim(target(tmp_path)) == f"{text}\n"


def test_a_device_without_one_has_none(tmp_path: Path) -> None:
    assert read_claim(target(tmp_path, "")) == ""


@pytest.mark.parametrize("text", ["word", "[]", '{"url": "x"}', "{"])
def test_what_is_no_claim_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "claim.json").write_text(text)
    with pytest.raises(SecretError, match="is no claim: make one with pressel-companion claims new hall"):
        read_claim(target(tmp_path))


def test_one_of_another_companion_is_refused_without_a_word_of_it(tmp_path: Path) -> None:
    (tmp_path / "claim.json").write_text(json.dumps({"url": "https://elsewhere.example", "claim": "word"}))
    with pytest.raises(SecretError, match=r"it is for https://elsewhere\.example, and the device") as refused:
        read_claim(target(tmp_path))
    assert "word" not in str(refused.value)


def test_a_device_may_have_a_companion_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "claim.json").write_text(json.dumps({"url": "https://other.example", "claim": "word"}))
    one = target(tmp_path, _OWN)
    assert "word" in read_claim(one)
    assert is_companion(one, "https://other.example/")
    assert not is_companion(one, URL)
    assert not is_companion(one, None)
