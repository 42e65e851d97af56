"""The GPIO panel over the real rpi-lgpio: bounces, lost edges, taken lines, the light, no GPIO at all."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from device.errors import PanelError
from device.panel.gpio import GpioPanel
from rig.gpio import chip

if TYPE_CHECKING:
    from collections.abc import Callable

BUTTON, WAKE, LED = 23, 24, 25
CHILD = Path(__file__).with_name("gpio_child.py")

needs_rpi_lgpio = pytest.mark.skipif(chip.missing() is not None, reason=str(chip.missing()))


def refusal(folder: Path, **env: str) -> str:
    """Return what the panel says on a machine with this environment."""
    done = subprocess.run(
        [sys.executable, CHILD, json.dumps({"button": BUTTON})],
        env={key: value for key, value in os.environ.items() if not key.startswith("RPI_")}
        | {"LG_WD": str(folder)}
        | env,
        capture_output=True,
        check=True,
        timeout=30,
    )
    text: str = json.loads(done.stdout)["error"]
    assert "\n" not in text
    return text


@pytest.mark.parametrize("edges", [False, True])
def test_a_storm_of_bounces_is_one_press_and_one_release(make_rig: Any, edges: bool) -> None:
    with make_rig(debounce_ms=100, edges=edges) as rig:
        rig.chip.storm(BUTTON, 0, bounces=7, every_us=200)
        assert rig.edge()[:2] == ("button", True)
        rig.chip.press(WAKE)
        assert rig.edge()[:2] == ("wake", True)
        rig.chip.storm(BUTTON, 1, bounces=7, every_us=200)
        assert rig.edge()[:2] == ("button", False)
        rig.chip.release(WAKE)
        assert rig.edge()[:2] == ("wake", False)
        assert rig.no_more_edges()


def test_a_release_inside_the_window_is_dated_to_its_edge(make_rig: Any) -> None:
    with make_rig(debounce_ms=400, edges=True) as rig:
        rig.press()
        pressed_at = rig.edge()[2]
        rig.release()
        line, active, released_at = rig.edge()
        assert (line, active) == ("button", False)
        assert released_at - pressed_at < 0.4


def test_lost_edges_are_made_up_for(make_rig: Any) -> None:
    with make_rig(edges=True) as rig:
        rig.chip.slip(BUTTON, 0)
        assert rig.edge()[:2] == ("button", True)
        rig.chip.slip(BUTTON, 1)
        assert rig.edge()[:2] == ("button", False)


def test_a_button_held_at_the_start_reports_its_release_only(make_rig: Any) -> None:
    with make_rig(held=(BUTTON,)) as rig:
        rig.chip.press(WAKE)
        assert rig.edge()[:2] == ("wake", True)
        rig.release()
        assert rig.edge()[:2] == ("button", False)
        assert "the button on GPIO 23 is active already" in rig.end()


def test_a_line_that_can_no_longer_be_read_lets_the_button_go(make_rig: Any) -> None:
    with make_rig() as rig:
        rig.press()
        assert rig.edge()[:2] == ("button", True)
        rig.order("break")
        assert rig.edge()[:2] == ("button", False)
        assert rig.end().count("GPIO 23 (button) cannot be read: GPIO not allocated") == 1


@pytest.mark.parametrize("edges", [False, True])
def test_active_high_lines_are_pulled_down(make_rig: Any, edges: bool) -> None:
    with make_rig(active_low=False, wake_active_low=False, edges=edges) as rig:
        rig.chip.drive(BUTTON, 1)
        assert rig.edge()[:2] == ("button", True)
        rig.chip.drive(WAKE, 1)
        assert rig.edge()[:2] == ("wake", True)
        rig.chip.drive(BUTTON, 0)
        assert rig.edge()[:2] == ("button", False)


@pytest.mark.parametrize(
    ("options", "mode", "said"),
    [
        ({"edges": True}, "edges", "GPIO 23, 24 by edge detection"),
        ({"edges": False}, "polling", "GPIO 23, 24 by reading every 10 ms"),
        ({}, "polling", "GPIO 23, 24 by reading every 10 ms"),
        ({"edges": True, "refuse_edges": True}, "polling", "no edge detection: Failed to add edge detection"),
    ],
)
def test_how_the_lines_are_read_is_logged(
    make_rig: Any, options: dict[str, bool], mode: str, said: str
) -> None:
    with make_rig(**options) as rig:
        rig.press()
        assert rig.edge()[:2] == ("button", True)
        assert rig.started["mode"] == mode
        assert said in rig.end()


def test_a_listener_with_a_bug_is_logged_and_the_next_edge_still_comes(make_rig: Any) -> None:
    with make_rig() as rig:
        rig.press()
        rig.edge()
        rig.release()
        rig.edge()
        assert rig.end().count("KeyError: 'the listener has a bug'") == 2


@pytest.mark.parametrize("led_active_low", [False, True])
def test_the_light_blinks_on_its_line_and_ends_dark(
    make_rig: Any, until: Callable[[Callable[[], Any]], Any], led_active_low: bool
) -> None:
    lit = 0 if led_active_low else 1
    with make_rig(led_active_low=led_active_low) as rig:
        assert [level for _, level in rig.chip.outputs(LED)] == [1 - lit], "dark until something is shown"
        rig.show("connecting")
        until(lambda: len(rig.chip.outputs(LED)) > 6)
        rig.show("listening")
        changes = rig.chip.outputs(LED)
        assert [level for _, level in changes[1:7]] == [lit, 1 - lit] * 3
        lengths = [later[0] - earlier[0] for earlier, later in itertools.pairwise(changes[1:7])]
        # A late wake-up shortens the next length, as the pattern keeps its beat: five make half a second.
        assert sum(lengths) > 0.45
        until(lambda: rig.chip.outputs(LED)[-1][1] == lit)
        rig.close()
        assert rig.chip.outputs(LED)[-1][1] == 1 - lit


def test_a_board_without_wake_line_and_light(make_rig: Any) -> None:
    with make_rig(wake=None, led=None) as rig:
        rig.show("ready")
        rig.press()
        assert rig.edge()[:2] == ("button", True)


@pytest.mark.parametrize(("number", "name"), [(BUTTON, "button"), (WAKE, "wake"), (LED, "led")])
def test_a_line_that_somebody_else_has_is_named(make_rig: Any, number: int, name: str) -> None:
    with make_rig(busy=(number,)) as rig:
        assert rig.started["error"].startswith(
            f"GPIO {number} (panel.{name}) cannot be had ('GPIO busy'): stop what uses it"
        )


def test_the_working_folder_stays_where_it_was(make_rig: Any) -> None:
    with make_rig() as rig:
        assert rig.started["cwd"] == str(Path.cwd())
        assert Path(rig.chip.env["LG_WD"], ".lgd-nfy0").exists(), "and lgpio's pipe is elsewhere"


@pytest.mark.parametrize("number", [18, 19, 20, 21])
@pytest.mark.parametrize("name", ["button", "wake", "led"])
def test_the_sound_lines_are_refused(name: str, number: int) -> None:
    lines: dict[str, Any] = {"button": BUTTON} | {name: number}
    with pytest.raises(
        PanelError, match=rf"GPIO {number} \(panel\.{name}\) is the I2S .*: choose a line outside 18 to 21"
    ):
        GpioPanel(**lines)


@pytest.mark.parametrize("number", [-1, 28, 40])
def test_lines_that_are_not_on_the_header_are_refused(number: int) -> None:
    with pytest.raises(PanelError, match="not on the header"):
        GpioPanel(button=number)


def test_one_line_for_two_things_is_refused() -> None:
    with pytest.raises(PanelError, match=r"GPIO 23 is both panel\.button and panel\.led"):
        GpioPanel(button=23, led=23)


@needs_rpi_lgpio
@pytest.mark.skipif(Path("/proc/device-tree/system/linux,revision").exists(), reason="this is a Pi")
def test_a_machine_that_is_no_pi(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        "no GPIO on this machine (This module can only be run on a Raspberry Pi!):"
        ' set panel.driver = "simulated"'
    )


@needs_rpi_lgpio
@pytest.mark.skipif(Path("/dev/gpiochip0").exists(), reason="this machine has a GPIO chip")
def test_a_chip_that_cannot_be_opened(tmp_path: Path) -> None:
    assert "add this user to the group gpio" in refusal(
        tmp_path, RPI_LGPIO_REVISION="c03115", RPI_LGPIO_CHIP="0"
    )


@needs_rpi_lgpio
def test_a_working_folder_that_cannot_be_written(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").endswith("set LG_WD to one")


@pytest.mark.parametrize(
    "stub", ["raise ModuleNotFoundError(\"No module named 'RPi'\")", "import json; json.SET_PULL_NONE"]
)
def test_a_missing_package_and_the_empty_stub_of_one(tmp_path: Path, stub: str) -> None:
    (tmp_path / "RPi").mkdir()
    (tmp_path / "RPi" / "__init__.py").write_text("")
    (tmp_path / "RPi" / "GPIO.py").write_text(stub)
    assert refusal(tmp_path, PYTHONPATH=str(tmp_path)).endswith("sudo apt-get install python3-rpi-lgpio")


def test_a_chain_of_leds_is_clocked_out_on_its_lines_and_dark_at_the_end(make_rig: Any, until: Any) -> None:
    chain = {"leds": 3, "color": (255, 255, 255), "brightness": 31, "data": 5, "clock": 6}
    with make_rig(led=None, chain=chain) as rig:
        rig.show("listening")
        until(lambda: [level for _, level in rig.chip.outputs(6)].count(1) == 136)
        ones = [level for _, level in rig.chip.outputs(5)].count(1)
        assert ones == 3 * 32
        rig.close()
        assert [level for _, level in rig.chip.outputs(5)].count(1) == ones + 3 * 3


def test_a_chain_on_spi_gets_frames_and_is_dark_at_the_end(make_rig: Any, until: Any, tmp_path: Path) -> None:
    wire = tmp_path / "spidev0.0"
    wire.touch()
    chain = {"leds": 1, "color": (9, 8, 7), "brightness": 31, "device": str(wire)}
    with make_rig(led=None, chain=chain) as rig:
        rig.show("listening")
        until(wire.read_bytes)
        rig.close()
        assert wire.read_bytes() == bytes(4) + b"\xff\x07\x08\x09" + bytes(5) + b"\xe0" + bytes(4)


def test_the_light_that_the_configuration_names_is_the_one_that_shines(tmp_path: Path) -> None:
    why = chip.missing()
    if why:
        pytest.skip(why)
    wire = tmp_path / "spidev0.0"
    wire.touch()
    code = f"""
import os, time
from device.config import Apa102Config, Config, PanelConfig
from device.parts import _make_panel
chain = Apa102Config(leds=1, color=(9, 8, 7), brightness=31, device={str(wire)!r})
panel = _make_panel(Config(panel=PanelConfig(button=23, light="apa102", apa102=chain)))
panel.show("listening")
while not os.path.getsize({str(wire)!r}):
    time.sleep(0.001)
panel.close()
os._exit(0)  # lgpio's thread does not end by itself
"""
    with chip.FakeChip(tmp_path) as fake:
        root = Path(__file__).parents[3]
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | fake.env, cwd=root, check=True, timeout=30
        )
    assert wire.read_bytes().startswith(bytes(4) + b"\xff\x07\x08\x09")
