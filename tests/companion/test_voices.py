"""The commands for an Unmute server's voices, against a real HTTP server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from companion.cli import main
from companion.local.engine import Engine
from companion.settings import LocalSettings, UnmuteSettings
from companion.simulators import Options
from companion.simulators.unmute import Unmute, routes
from companion.voices import LARGEST_BYTES, upload
from tests.companion.talk import config_file, http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request

PATH = "unmute-prod-website/p329_022.wav"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with http(Starlette(routes=routes(service(tmp_path)))) as url:
        yield url


def service(folder: Path, *mistakes: str) -> Unmute:
    return Unmute(Options(folder, mistakes=frozenset(mistakes)), Engine(LocalSettings(), folder))


def command(folder: Path, url: str, *words: str) -> int:
    text = f'[endpoints.default]\nprovider = "unmute"\n[providers.unmute]\nbase_url = "{url}"\n'
    return main(["voices", *words, "--config", str(config_file(folder, text))])


def recording(folder: Path, size: int = 200_000) -> Path:
    file = folder / "me.wav"
    file.write_bytes((b"RIFF" + bytes(size))[:size])
    return file


def test_the_voices_are_listed(tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, server, "list") == 0
    assert capsys.readouterr().out.splitlines()[0] == f"Watercooler\t{PATH}"
    assert command(tmp_path, server, "list", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["voices"][0] == {"name": "Watercooler", "path": PATH}
    assert [voice["name"] for voice in facts["voices"]] == ["Watercooler", "Quiz show"]  # one has no name


def test_a_voice_is_added(tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(recording(tmp_path))
    assert command(tmp_path, server, "add", file, "--consent") == 0
    said = capsys.readouterr()
    assert said.out.startswith("custom:")
    assert "Kept for 1 hour" in said.err
    assert command(tmp_path, server, "add", file, "--consent", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["name"].startswith("custom:")
    assert facts["kept_s"] == 3600


def test_nobodys_voice_is_taken_without_asking(
    tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, server, "add", str(recording(tmp_path))) == 78
    assert "--consent" in capsys.readouterr().err


def test_the_upload_tells_how_far_it_is(tmp_path: Path, server: str) -> None:
    told: list[tuple[int, int]] = []
    upload(UnmuteSettings(base_url=server), recording(tmp_path), lambda *at: told.append(at))
    done = [at for at, _ in told]
    assert done == sorted(done)
    assert told[-1] == (200_000, 200_000)
    assert len(set(done)) > 2


@pytest.mark.parametrize(
    ("size", "line"), [(0, "has 0 bytes"), (LARGEST_BYTES + 1, "takes 1 to"), (None, "cannot read")]
)
def test_a_file_that_cannot_be_sent_is_refused_before(
    tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str], size: int | None, line: str
) -> None:
    file = tmp_path / "none" if size is None else recording(tmp_path, 0)
    if size:
        file.write_bytes(bytes(size))
    assert command(tmp_path, server, "add", str(file), "--consent") == 78
    assert line in capsys.readouterr().err


def test_a_folder_is_no_recording(tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, server, "add", str(tmp_path), "--consent") == 78
    assert "is no file" in capsys.readouterr().err


def test_a_server_without_cloning_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with http(Starlette(routes=routes(service(tmp_path, "no-cloning")))) as url:
        assert command(tmp_path, url, "add", str(recording(tmp_path)), "--consent") == 1
    assert "503: voice cloning is not running there" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "line"), [({"detail": "?"}, "names no voice"), (None, "404: it has no")])
def test_another_server_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: Any, line: str
) -> None:
    async def post(_: Request) -> Response:
        return JSONResponse(answer)

    with http(Starlette(routes=[Route("/v1/voices", post, methods=["POST"])] if answer else [])) as url:
        assert command(tmp_path, url, "add", str(recording(tmp_path)), "--consent") == 1
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("words", [("list",), ("add", "FILE", "--consent")])
def test_a_server_that_is_away_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    given = [str(recording(tmp_path)) if word == "FILE" else word for word in words]
    assert command(tmp_path, "http://127.0.0.1:9", *given) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be reached" in line


def test_the_whole_file_arrives(tmp_path: Path) -> None:
    sizes: list[int] = []

    async def post(request: Request) -> Response:
        async with request.form() as form:
            file = form["file"]
            assert not isinstance(file, str)
            sizes.append(len(await file.read()))
        return JSONResponse({"name": "custom:1"})

    with http(Starlette(routes=[Route("/v1/voices", post, methods=["POST"])])) as url:
        assert httpx.get(f"{url}/v1/voices").status_code == 405
        upload(UnmuteSettings(base_url=url), recording(tmp_path, LARGEST_BYTES), lambda *_: None)
    assert sizes == [LARGEST_BYTES]
