"""Every link from one page to another leads somewhere: the file is there, and has that heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)


def _pages() -> list[str]:
    rooms = (ROOT.glob("*.md"), (ROOT / "docs").rglob("*.md"), (ROOT / "hardware").rglob("*.md"))
    return sorted(str(page.relative_to(ROOT)) for pages in rooms for page in pages)


def _anchors(page: Path) -> set[str]:
    """Return the page's anchors, as GitHub makes them of headings."""
    found: list[str] = []
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        again = sum(other == slug or other.startswith(f"{slug}-") for other in found)
        found.append(f"{slug}-{again}" if slug in found else slug)
    return set(found)


def _faults(page: str) -> list[str]:
    text = _CODE.sub("", _FENCE.sub("", (ROOT / page).read_text()))
    faults = []
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        if not there.exists():
            faults.append(f"{link}: there is no such file")
        elif anchor and anchor not in _anchors(there):
            faults.append(f"{link}: there is no such heading")
    return faults


def test_all_the_pages_are_looked_at() -> None:
    assert {"README.md", "docs/build-one.md", "docs/fleet.md", "docs/install.md"} <= set(_pages())


@pytest.mark.parametrize("page", _pages())
def test_links_lead_somewhere(page: str) -> None:
    assert _faults(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One *two*: `x`\n[a](#one-two-x) [b](#gone) [c](no.md) [d](https://x.example)\n```\n[e](f)\n```\n"
    )
    assert _faults(str(page)) == ["#gone: there is no such heading", "no.md: there is no such file"]
