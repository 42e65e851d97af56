"""Facts of a device beside the inventory: what apply would do, and what it needs for that."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from provision.errors import SecretError
from provision.fleet.planning import make_plan
from provision.inventory import render_config
from provision.release import Release
from tests.provision.targets import URL, b64, target

if TYPE_CHECKING:
    from pathlib import Path

    from provision.inventory import Target

CLAIM = json.dumps({"url": URL, "claim": "one-time-word"})


def release(folder: Path) -> Release:
    (folder / "b.tar.gz").write_bytes(bytes(3_000_000))
    return Release(folder / "b.tar.gz", "2.0", "aarch64", "built")


def done(one: Target, **other: str) -> dict[str, str]:
    """The facts of a device on which nothing is to be done, but for `other`."""
    return {
        "arch": "aarch64",
        "current": "2.0",
        "board": b64('name = "i2s-mems-pair"'),
        "config": b64(render_config(one)),
        "identity": b64(json.dumps({"name": "hall", "url": URL})),
        "service": "active",
        "check": b64('{"ok": true, "device": "hall"}'),
        **other,
    }


def test_an_empty_machine_gets_everything(tmp_path: Path) -> None:
    (tmp_path / "claim.json").write_text(CLAIM)
    plan = make_plan(target(tmp_path), release(tmp_path), {"arch": "aarch64"})
    assert plan.steps == (
        "install 2.0",
        "set the board i2s-mems-pair",
        "write config.toml",
        "hand over the claim",
    )
    assert json.loads(plan.files["claim.json"]) == json.loads(CLAIM)
    assert "+[backend]" in plan.diff
    assert "one-time-word" not in repr(plan) + plan.diff


def test_a_device_as_it_should_be_needs_nothing_not_even_its_claim_file(tmp_path: Path) -> None:
    one = target(tmp_path)
    plan = make_plan(one, release(tmp_path), done(one))
    assert (plan.steps, plan.files, plan.diff, plan.problem) == ((), {}, "", "")


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        ({"current": "1.0"}, "update 1.0 to 2.0"),
        ({"trial": "yes"}, "settle 2.0, which has not passed its gate"),
        ({"board": b64('name = "simulated"')}, "change the board from simulated to i2s-mems-pair"),
        ({"board": b64("name = ")}, "change the board from unreadable to i2s-mems-pair"),
        ({"config": b64("# other")}, "change config.toml"),
        ({"service": "failed"}, "start the service, which is failed"),
        ({"service": ""}, "start the service, which is unknown"),
        ({"check": b64('{"ok": false, "error": "unauthorized"}')}, "look again: unauthorized"),
        ({"check": ""}, "look again: the daemon does not answer"),
    ],
)
def test_one_thing_that_differs_is_one_step(tmp_path: Path, facts: dict[str, str], step: str) -> None:
    one = target(tmp_path)
    plan = make_plan(one, release(tmp_path), done(one, **facts))
    assert plan.steps == (step,)
    assert plan.gate_only is step.startswith("look again")
    assert ("config.toml" in plan.files) is ("config" in facts)


@pytest.mark.parametrize("identity", [{"name": "other", "url": URL}, {"name": "hall", "url": "https://old"}])
def test_an_identity_of_another_name_or_companion_needs_the_claim(
    tmp_path: Path, identity: dict[str, Any]
) -> None:
    (tmp_path / "claim.json").write_text(CLAIM)
    one = target(tmp_path)
    facts = done(one, identity=b64(json.dumps(identity)))
    assert make_plan(one, release(tmp_path), facts).steps == ("hand over the claim",)


def test_a_claim_that_waits_on_the_device_is_not_sent_again(tmp_path: Path) -> None:
    (tmp_path / "claim.json").write_text(CLAIM)
    one = target(tmp_path)
    facts = done(one, claim=hashlib.sha256(CLAIM.encode()).hexdigest())
    del facts["identity"]
    assert make_plan(one, release(tmp_path), facts).steps == ()


def test_a_claim_that_was_refused_is_not_sent_again(tmp_path: Path) -> None:
    (tmp_path / "claim.json").write_text(CLAIM)
    one = target(tmp_path)
    facts = done(one, refused=hashlib.sha256(CLAIM.encode()).hexdigest())
    del facts["identity"]
    assert "claims new hall --replace" in make_plan(one, release(tmp_path), facts).problem
    facts["refused"] = hashlib.sha256(b"another").hexdigest()
    assert make_plan(one, release(tmp_path), facts).steps == ("hand over the claim",)


def test_a_token_is_compared_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("word\n")
    one = target(tmp_path, 'token = { file = "t" }')
    assert make_plan(one, release(tmp_path), done(one)).steps == ("write the token",)
    facts = done(one, token=hashlib.sha256(b"word").hexdigest())
    assert make_plan(one, release(tmp_path), facts).steps == ()


@pytest.mark.parametrize(
    ("claim", "complaint"),
    [
        (None, "hall: claim: the file .* is missing"),
        ("{}", "is no claim: make one with pressel-companion claims new hall"),
        ("nonsense", "is no claim"),
        ("[]", "is no claim"),
        (json.dumps({"url": "https://other", "claim": "x"}), "it is for https://other, and the device's"),
    ],
)
def test_a_claim_that_cannot_be_used_is_named(tmp_path: Path, claim: str | None, complaint: str) -> None:
    if claim is not None:
        (tmp_path / "claim.json").write_text(claim)
    with pytest.raises(SecretError, match=complaint):
        make_plan(target(tmp_path), release(tmp_path), {"arch": "aarch64"})


def test_a_bundle_for_another_machine_is_a_problem_and_no_secret_is_read(tmp_path: Path) -> None:
    plan = make_plan(target(tmp_path), release(tmp_path), {"arch": "armv7l"})
    assert plan.problem == "the bundle is for aarch64, the device is armv7l"
    assert plan.steps == ()


def test_a_device_without_room_for_the_bundle_is_sent_nothing(tmp_path: Path) -> None:
    one = target(tmp_path)
    small = {"current": "1.0", "stage_free_mb": "6"}
    assert make_plan(one, release(tmp_path), done(one, **small)).problem.startswith("6 MB are free below")
    assert make_plan(one, release(tmp_path), done(one, current="1.0", stage_free_mb="7")).problem == ""
    assert make_plan(one, release(tmp_path), done(one, stage_free_mb="0")).problem == ""


def test_another_bundle_of_the_same_version_is_told(tmp_path: Path) -> None:
    one = target(tmp_path)
    said = make_plan(one, release(tmp_path), done(one, build="otherwise")).problem
    assert said == "2.0 there was made from another bundle: build this one with another --version"
    assert make_plan(one, release(tmp_path), done(one, build="built")).problem == ""
    assert make_plan(one, release(tmp_path), done(one, current="1.0", build="otherwise")).problem == ""


def test_nothing_is_tried_before_a_reboot_that_is_due(tmp_path: Path) -> None:
    one = target(tmp_path)
    plan = make_plan(one, release(tmp_path), done(one, reboot="yes", trial="yes", service="inactive"))
    assert plan.problem.startswith("a reboot is due for config.txt: pressel-fleet run --limit hall --")
    assert make_plan(one, release(tmp_path), done(one, reboot="yes")).problem == ""
    assert make_plan(one, release(tmp_path), done(one, reboot="yes", current="1.0")).steps
