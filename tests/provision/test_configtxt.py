"""The marked block in config.txt, and overlays that clash with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.configtxt import BEGIN, END, with_block
from provision.errors import MediaError
from tests.provision.cards import CONFIG_TXT

NOWHERE = Path("/nonexistent")
LINES = ("dtparam=audio=off", "dtoverlay=vc4-kms-v3d,noaudio", "dtoverlay=googlevoicehat-soundcard")
BLOCK = f"{BEGIN}\n[all]\n" + "".join(f"{line}\n" for line in LINES) + f"{END}\n"


def test_a_new_block_goes_to_the_end_and_the_rest_stays() -> None:
    assert with_block(CONFIG_TXT, LINES, NOWHERE) == CONFIG_TXT + BLOCK


def test_a_file_without_a_last_line_end_gets_one() -> None:
    assert with_block("arm_boost=1", LINES, NOWHERE) == "arm_boost=1\n" + BLOCK


def test_the_same_block_again_changes_nothing() -> None:
    once = with_block(CONFIG_TXT, LINES, NOWHERE)
    assert with_block(once, LINES, NOWHERE) == once


def test_another_board_replaces_the_block_in_its_place() -> None:
    text = f"before=1\r\n{BLOCK}after=1\n"
    changed = with_block(text, ("dtparam=spi=on",), NOWHERE)
    assert changed == f"before=1\r\n{BEGIN}\n[all]\ndtparam=spi=on\n{END}\nafter=1\n"


def test_a_board_without_lines_takes_the_block_away() -> None:
    assert with_block(f"before=1\n{BLOCK}after=1\n", (), NOWHERE) == "before=1\nafter=1\n"
    assert with_block(CONFIG_TXT, (), NOWHERE) == CONFIG_TXT


@pytest.mark.parametrize("text", [f"{BEGIN}\n", f"{END}\n{BEGIN}\n", BLOCK + BLOCK])
def test_marks_that_are_no_pair_are_refused(text: str) -> None:
    with pytest.raises(MediaError, match="are not one pair"):
        with_block(text, LINES, NOWHERE)


@pytest.mark.parametrize(
    "overlay",
    [
        "hifiberry-dacplus",
        "wm8960-soundcard",
        "max98357a,no-sdmode",
        "iqaudio-codec",
        "adau7002-simple",
        "pibell",
    ],
)
def test_somebody_elses_sound_overlay_is_named(overlay: str) -> None:
    with pytest.raises(MediaError, match=f'"dtoverlay={overlay}" is a sound board'):
        with_block(f"{CONFIG_TXT}  dtoverlay={overlay}  \n", LINES, NOWHERE)


@pytest.mark.parametrize("line", ["#dtoverlay=hifiberry-dac", "dtoverlay=vc4-kms-v3d", "dtoverlay=gpio-fan"])
def test_other_overlays_do_not_clash(line: str) -> None:
    assert with_block(f"{line}\n", LINES, NOWHERE) == f"{line}\n{BLOCK}"


@pytest.mark.parametrize(
    ("line", "pin"),
    [
        ("dtoverlay=gpio-ir", 18),
        ("dtoverlay=pwm,func=2", 18),
        ("dtoverlay=pwm-2chan,pin=12,func=4", 19),
        ("dtoverlay=spi1-1cs,cs0_pin=16", 19),
        ("dtoverlay=dht11,gpiopin=21", 21),
    ],
)
def test_an_overlay_that_takes_a_pin_of_i2s_is_named_with_the_pin(line: str, pin: int) -> None:
    with pytest.raises(MediaError, match=f'config.txt: "{line}" takes GPIO {pin}, which'):
        with_block(f"{line}\n", LINES, NOWHERE)


@pytest.mark.parametrize(
    "line", ["gpio-ir,gpio_pin=17", "pwm-2chan,pin=12,func=4,pin2=13,func2=4", "w1-gpio", "dht11,gpiopin=4"]
)
def test_one_that_was_given_another_pin_does_not_clash(line: str) -> None:
    assert with_block(f"dtoverlay={line}\n", LINES, NOWHERE).endswith(BLOCK)


def test_a_board_without_an_i2s_overlay_clashes_with_none() -> None:
    assert with_block("dtoverlay=hifiberry-dac\n", ("dtparam=spi=on",), NOWHERE).startswith(
        "dtoverlay=hifiberry-dac\n"
    )


@pytest.mark.parametrize("section", ["[pi4]", "[all]", "[none]"])
def test_one_in_a_section_for_some_machines_is_named_too(section: str) -> None:
    with pytest.raises(MediaError, match=r'config\.txt: "dtoverlay=hifiberry-dac"'):
        with_block(f"{section}\ndtoverlay=hifiberry-dac\n", LINES, NOWHERE)


def test_one_in_a_file_that_config_txt_includes_is_named_with_that_file(tmp_path: Path) -> None:
    (tmp_path / "extra.txt").write_text("include config.txt\ninclude more.txt\ninclude extra.txt\n")
    (tmp_path / "more.txt").write_text("dtoverlay=hifiberry-dac\n")
    with pytest.raises(MediaError, match=r'more\.txt: "dtoverlay=hifiberry-dac" is a sound board'):
        with_block("include extra.txt\n", LINES, tmp_path)
    assert with_block("include missing.txt\n", LINES, tmp_path) == f"include missing.txt\n{BLOCK}"
