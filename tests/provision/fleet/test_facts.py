"""The commands run in a real shell; what they print is read back."""

from __future__ import annotations

import subprocess

import pytest

from provision.fleet.facts import Health, Installation, as_root, json_of, parse, text_of


@pytest.mark.parametrize("fact", [Installation, Health])
def test_a_machine_without_pressel_says_what_it_is(fact: type[Installation]) -> None:
    done = subprocess.run(["sh", "-c", fact().command()], capture_output=True, text=True, check=False)
    if "sudo=refused" in done.stdout:
        pytest.skip("this login may not use sudo")
    assert done.returncode == 0
    found = fact().process(done.stdout.splitlines())
    assert (
        found["arch"]
        == subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    )
    assert "service" in found
    assert ("disk_free_mb" in found) is (fact is Health)


def test_a_script_with_quotes_arrives_whole() -> None:
    done = subprocess.run(
        ["sh", "-c", as_root("""echo 'a "b" $HOME'; exit 5""")], capture_output=True, text=True, check=False
    )
    if "sudo=refused" not in done.stdout:
        assert (done.stdout, done.returncode) == ('a "b" $HOME\n', 5)


def test_a_banner_is_no_fact() -> None:
    assert parse(["Welcome = home!", "arch=x", "a b=c", "empty="]) == {"arch": "x", "empty": ""}


def test_files_come_as_base64_and_nonsense_is_nothing() -> None:
    found = {"a": "eyJiIjogMX0=", "list": "W10=", "bad": "***", "text": "aGVsbG8="}
    assert text_of(found, "text") == "hello"
    assert text_of(found, "none") is None
    assert text_of(found, "bad") == ""
    assert [json_of(found, key) for key in ("a", "list", "bad", "text", "none")] == [{"b": 1}, {}, {}, {}, {}]
