"""pressel-fleet media: a card told all, twice the same, no secret shown, and nobody's settings lost."""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from provision import cli
from provision.media import settings
from tests.provision import cards

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["trixie", "bookworm"])
def boot(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A fresh boot partition of each kind."""
    makers = {"trixie": cards.trixie, "bookworm": cards.bookworm}
    return makers[request.param](tmp_path / "boot")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with an inventory."""
    (tmp_path / "desk").mkdir()
    cards.inventory(tmp_path / "desk")
    return tmp_path / "desk"


def media(desk: Path, boot: Path, *more: str) -> int:
    inventory = str(desk / "fleet.toml")
    return cli.main(["media", "--inventory", inventory, "--device", "kitchen-1", "--boot", str(boot), *more])


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_card_gets_all_that_the_first_start_needs(desk: Path, boot: Path) -> None:
    assert media(desk, boot) == 0
    folder = boot / "pressel"
    assert (folder / "board").read_text() == "i2s-mems-pair\n"
    assert f'url = "{cards.URL}"' in (folder / "config.toml").read_text()
    assert json.loads((folder / "claim.json").read_text()) == {"url": cards.URL, "claim": cards.CLAIM}
    packed = (folder / "pressel-0.2.0-aarch64.tar.gz").read_bytes()
    assert packed == (desk / "bundle.tar.gz").read_bytes()
    assert "dtoverlay=googlevoicehat-soundcard\n# <<< pressel\n" in (boot / "config.txt").read_text()
    assert not (folder / "token").exists()


def test_a_release_for_another_machine_is_refused(
    desk: Path, boot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards.bundle(desk / "bundle.tar.gz", arch="x86_64")
    before = everything(boot)
    assert media(desk, boot) == cli.USAGE_EXIT
    assert "is for x86_64: a Pi needs --arch aarch64" in capsys.readouterr().err
    assert everything(boot) == before


def test_a_second_run_changes_nothing_and_says_so(
    desk: Path, boot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    media(desk, boot)
    before = everything(boot)
    capsys.readouterr()
    assert media(desk, boot) == 0
    assert capsys.readouterr().out.endswith("nothing to change\n")
    assert everything(boot) == before


def test_a_dry_run_changes_nothing_and_shows_no_secret(
    desk: Path, boot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(boot)
    assert media(desk, boot, "--dry-run") == 0
    said = capsys.readouterr().out
    assert everything(boot) == before
    assert "would have changed config.txt" in said
    assert "+dtoverlay=googlevoicehat-soundcard" in said
    for secret in (cards.PASSPHRASE, settings.psk("Café", cards.PASSPHRASE), cards.CLAIM):
        assert secret not in said


def test_the_passphrase_is_nowhere_on_the_card(desk: Path, boot: Path) -> None:
    media(desk, boot)
    assert not any(cards.PASSPHRASE.encode() in content for content in everything(boot).values())


def test_files_have_unix_line_ends_and_no_byte_order_mark(desk: Path, boot: Path) -> None:
    media(desk, boot)
    for name, content in everything(boot).items():
        if name.endswith((".txt", ".toml", ".sh", ".json", "-data", "-config", "board")):
            assert b"\r" not in content, name
            assert not content.startswith(b"\xef\xbb\xbf"), name


def test_json_names_each_change(desk: Path, boot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert media(desk, boot, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["device"] == "kitchen-1"
    assert {"path": "config.txt", "action": "changed"} in facts["changes"]
    assert {"path": "pressel/board", "action": "written"} in facts["changes"]
    assert any("claim lies on the card in clear" in note for note in facts["notes"])
    media(desk, boot, "--json")
    assert json.loads(capsys.readouterr().out)["changes"] == []


def test_another_release_and_a_token_take_the_old_ones_place(desk: Path, boot: Path) -> None:
    media(desk, boot)
    cards.bundle(desk / "bundle.tar.gz", version="0.3.0")
    (desk / "secrets/token").write_text("t0ken\n")
    file = desk / "fleet.toml"
    file.write_text(
        file.read_text().replace("claim = { file", "token = { file").replace("secrets/claim", "secrets/token")
    )
    assert media(desk, boot) == 0
    names = sorted(path.name for path in (boot / "pressel").iterdir())
    assert names == ["board", "config.toml", "first-boot.sh", "pressel-0.3.0-aarch64.tar.gz", "token"]
    assert (boot / "pressel/token").read_text() == "t0ken\n"


def test_the_instance_changes_when_the_content_does(desk: Path, tmp_path: Path) -> None:
    boot = cards.trixie(tmp_path / "boot")
    media(desk, boot)
    first = (boot / "meta-data").read_text()
    assert first.splitlines()[-1].removeprefix("instance-id: ") in (boot / "cmdline.txt").read_text()
    file = desk / "fleet.toml"
    file.write_text(file.read_text().replace("Europe/Berlin", "Europe/Oslo"))
    media(desk, boot)
    assert (boot / "meta-data").read_text() != first


def test_a_card_pulled_half_way_is_finished_by_the_next_run_as_a_new_instance(
    desk: Path, tmp_path: Path
) -> None:
    boot = cards.trixie(tmp_path / "boot")
    media(desk, boot)
    first = (boot / "meta-data").read_text()
    (boot / "user-data").write_text("#cloud-config\n")  # as before the last of the files was written
    media(desk, boot)
    assert '"hostname": "kitchen-1"' in (boot / "user-data").read_text()
    assert (boot / "meta-data").read_text() != first


def test_a_claim_that_the_device_has_used_up_is_not_written_again(desk: Path, boot: Path) -> None:
    media(desk, boot)
    claim = boot / "pressel/claim.json"
    (boot / "pressel/claim.json.sha256").write_text(f"{hashlib.sha256(claim.read_bytes()).hexdigest()}\n")
    claim.unlink()
    before = everything(boot)
    media(desk, boot)
    assert everything(boot) == before
    (desk / "secrets/claim").write_text(json.dumps({"url": cards.URL, "claim": "another"}))
    media(desk, boot)
    assert json.loads(claim.read_text())["claim"] == "another"


@pytest.mark.parametrize(
    ("kind", "file"), [("trixie", "user-data"), ("bookworm", "firstrun.sh"), ("bookworm", "custom.toml")]
)
def test_somebodys_settings_are_kept_unless_told_otherwise(
    desk: Path, tmp_path: Path, kind: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    boot = {"trixie": cards.trixie, "bookworm": cards.bookworm}[kind](tmp_path / "boot")
    (boot / file).write_text("hostname: mine\n")
    before = everything(boot)
    assert media(desk, boot) == cli.USAGE_EXIT
    assert "hold somebody's settings" in capsys.readouterr().err
    assert everything(boot) == before
    assert media(desk, boot, "--replace") == 0
    assert b"kitchen-1" in everything(boot)[file] or b"first-boot.sh" in everything(boot)[file]


def test_somebody_elses_overlay_is_named_and_nothing_is_written(
    desk: Path, boot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (boot / "config.txt").open("a") as file:
        file.write("dtoverlay=hifiberry-dac\n")
    before = everything(boot)
    assert media(desk, boot) == cli.USAGE_EXIT
    assert '"dtoverlay=hifiberry-dac" is a sound board' in capsys.readouterr().err
    assert everything(boot) == before


def test_what_is_no_boot_partition_gets_one_line(
    desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert media(desk, tmp_path / "empty") == cli.USAGE_EXIT
    said = capsys.readouterr()
    assert "is no boot partition of Raspberry Pi OS" in said.err
    assert said.err.count("\n") == 1


def test_what_cannot_be_read_gets_one_line(
    desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert media(desk, tmp_path / ("long" * 100)) == cli.USAGE_EXIT
    said = capsys.readouterr().err
    assert "longlong" in said
    assert said.endswith("File name too long; is the card mounted, and yours to read?\n")
    assert said.count("\n") == 1


def test_an_unknown_device_gets_the_nearest_name(
    desk: Path, boot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = str(desk / "fleet.toml")
    assert cli.main(["media", "--inventory", inventory, "--device", "kitchen", "--boot", str(boot)]) == 2
    assert 'no device "kitchen"' in capsys.readouterr().err


def test_notes_say_what_a_person_should_know(
    desk: Path, boot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = cards.inventory(desk, wifi="none")
    text = file.read_text().replace('claim = { file = "secrets/claim" }', "")
    file.write_text(text.replace('authorized_keys_files = ["id.pub"]', ""))
    media(desk, boot)
    said = capsys.readouterr().out
    assert "neither claim nor token" in said
    assert "needs a cable" in said
    assert "nobody can log in" in said


def test_the_script_that_goes_to_the_card_is_bash(desk: Path, boot: Path) -> None:
    media(desk, boot)
    subprocess.run(["bash", "-n", boot / "pressel/first-boot.sh"], check=True)
