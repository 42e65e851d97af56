"""The marked block in config.txt, and overlays that clash with it."""

from __future__ import annotations

import pytest

from provision.configtxt import BEGIN, END, with_block
from provision.errors import MediaError
from tests.provision.cards import CONFIG_TXT

LINES = ("dtparam=audio=off", "dtoverlay=vc4-kms-v3d,noaudio", "dtoverlay=googlevoicehat-soundcard")
BLOCK = f"{BEGIN}\n[all]\n" + "".join(f"{line}\n" for line in LINES) + f"{END}\n"


def test_a_new_block_goes_to_the_end_and_the_rest_stays() -> None:
    assert with_block(CONFIG_TXT, LINES) == CONFIG_TXT + BLOCK


def test_a_file_without_a_last_line_end_gets_one() -> None:
    assert with_block("arm_boost=1", LINES) == "arm_boost=1\n" + BLOCK


def test_the_same_block_again_changes_nothing() -> None:
    once = with_block(CONFIG_TXT, LINES)
    assert with_block(once, LINES) == once


def test_another_board_replaces_the_block_in_its_place() -> None:
    text = f"before=1\r\n{BLOCK}after=1\n"
    changed = with_block(text, ("dtparam=spi=on",))
    assert changed == f"before=1\r\n{BEGIN}\n[all]\ndtparam=spi=on\n{END}\nafter=1\n"


def test_a_board_without_lines_takes_the_block_away() -> None:
    assert with_block(f"before=1\n{BLOCK}after=1\n", ()) == "before=1\nafter=1\n"
    assert with_block(CONFIG_TXT, ()) == CONFIG_TXT


@pytest.mark.parametrize("text", [f"{BEGIN}\n", f"{END}\n{BEGIN}\n", BLOCK + BLOCK])
def test_marks_that_are_no_pair_are_refused(text: str) -> None:
    with pytest.raises(MediaError, match="are not one pair"):
        with_block(text, LINES)


@pytest.mark.parametrize(
    "overlay",
    ["hifiberry-dacplus", "wm8960-soundcard", "max98357a,no-sdmode", "iqaudio-codec", "adau7002-simple"],
)
def test_somebody_elses_sound_overlay_is_named(overlay: str) -> None:
    with pytest.raises(MediaError, match=f'"dtoverlay={overlay}" is a sound board'):
        with_block(f"{CONFIG_TXT}  dtoverlay={overlay}  \n", LINES)


@pytest.mark.parametrize("line", ["#dtoverlay=hifiberry-dac", "dtoverlay=vc4-kms-v3d", "dtoverlay=gpio-fan"])
def test_other_overlays_do_not_clash(line: str) -> None:
    assert with_block(f"{line}\n", LINES) == f"{line}\n{BLOCK}"


def test_a_board_without_an_i2s_overlay_clashes_with_none() -> None:
    assert with_block("dtoverlay=hifiberry-dac\n", ("dtparam=spi=on",)).startswith(
        "dtoverlay=hifiberry-dac\n"
    )
