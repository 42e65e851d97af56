"""Draws the demo as one picture. `python -m demo.timeline FOLDER` draws a folder's picture again."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demo.journal import read_events
from demo.sound import load
from demo.story import tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from demo.sound import Recording
    from demo.story import Line, Story

SIZE_INCHES = (16.0, 8.0)
DPI = 120
_COLUMNS = 2400  # of a waveform
_INK, _PALE, _PAPER = "#22303c", "#8795a1", "#fbfaf7"
_MIC, _SPEAKER, _KILL, _SESSION = "#2a6f97", "#b35c1e", "#c1121f", "#2d6a4f"
_STATES = {
    "idle": "#e3e2dd",
    "connecting": "#f2cc60",
    "retrying": "#e8985e",
    "ready": "#bcd8c1",
    "listening": "#61a5c2",
    "awaiting": "#c8b6e2",
    "speaking": "#e09f5a",
}
# Lanes from the bottom to the top of each axis: (low, high) as shares of the figure's height.
_LANES = {"mic": (0.585, 0.765), "panel": (0.465, 0.55), "speaker": (0.23, 0.435)}
_LATENCIES = {
    "press_to_frame_ms": "press to first frame",
    "release_to_commit_ms": "release to commit",
    "commit_to_reply_ms": "commit to reply",
    "reply_to_sound_ms": "reply to sound",
}
_NOTE_ROWS = (1.42, 1.95)
_NOTE: dict[str, Any] = {"fontsize": 8.5, "ha": "left", "va": "bottom", "annotation_clip": False}
_LEFT, _RIGHT = 0.085, 0.985


def draw(events: list[dict[str, Any]], mic: Recording, speaker: Recording, out: Path) -> None:
    """Write the picture, 1920 x 960 pixels, to `out`."""
    import matplotlib as mpl  # noqa: PLC0415 # slow, and only for the picture

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 # after the choice of backend

    story = tell(events)
    begin, end = min(mic.start, speaker.start), max(story.end, mic.end, speaker.end)
    begin, end = _interesting(story, begin, end)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": _INK}):
        figure = plt.figure(figsize=SIZE_INCHES, dpi=DPI, facecolor=_PAPER)
        lanes = {name: _lane(figure, name, end - begin) for name in _LANES}
        _wave(lanes["mic"], mic, begin, end, _MIC)
        _wave(lanes["speaker"], speaker, begin, end, _SPEAKER)
        _panel(lanes["panel"], story, begin)
        for name, axes in lanes.items():
            _incidents(axes, story, begin, named=name == "mic")
        _lines(lanes["mic"], _of(story, "user"), begin, end, _MIC)
        _lines(lanes["speaker"], _of(story, "assistant"), begin, end, _SPEAKER)
        _words_around(figure, story, _medians(events))
        _legend(figure, story)
        figure.savefig(out, facecolor=_PAPER)
        plt.close(figure)


def _interesting(story: Story, begin: float, end: float) -> tuple[float, float]:
    """Leave out the empty time before the first press and after the last state."""
    first = story.presses[0].start if story.presses else begin
    return max(begin, first - 1.5), min(end, story.end + 0.5)


def _lane(figure: Any, name: str, seconds: float) -> Axes:
    low, high = _LANES[name]
    axes: Axes = figure.add_axes((_LEFT, low, _RIGHT - _LEFT, high - low))
    axes.set_facecolor(_PAPER if name == "panel" else "#ffffff")
    axes.set_xlim(0, seconds)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(
        axis="x", colors=_PALE, length=3, labelbottom=name == "speaker", bottom=name == "speaker"
    )
    if name == "speaker":
        axes.xaxis.set_major_locator(_every_five())
        axes.xaxis.set_major_formatter("{x:.0f} s")
    return axes


def _every_five() -> Any:
    from matplotlib.ticker import MultipleLocator  # noqa: PLC0415 # with the rest of matplotlib

    return MultipleLocator(5)


def _wave(axes: Axes, recording: Recording, begin: float, end: float, colour: str) -> None:
    """Fill between the lowest and the highest sample of each column."""
    pcm = np.zeros(round((end - begin) * recording.rate), np.float32)
    shift = round((recording.start - begin) * recording.rate)
    sound = recording.pcm[max(0, -shift) :][: max(0, len(pcm) - max(0, shift))]
    pcm[max(0, shift) : max(0, shift) + len(sound)] = sound
    width = max(1, len(pcm) // _COLUMNS)
    columns = pcm[: len(pcm) // width * width].reshape(-1, width)
    loudest = max(float(np.abs(pcm).max(initial=0)), 1.0)
    at = (np.arange(len(columns)) + 0.5) * width / recording.rate
    axes.axhline(0, color=colour, linewidth=0.6, alpha=0.5)
    axes.fill_between(
        at, columns.min(1) / loudest * 0.92, columns.max(1) / loudest * 0.92, color=colour, linewidth=0
    )


def _panel(axes: Axes, story: Story, begin: float) -> None:
    for span in story.states:
        width = span.end - span.start
        colour = _STATES.get(span.name, "#dddddd")
        axes.broken_barh([(span.start - begin, width)], (-1.0, 1.15), facecolors=colour, linewidth=0)
        if width > len(span.name) * 0.024 * _span(axes) / 10 + 0.3:
            axes.text(
                (span.start + span.end) / 2 - begin, -0.44, span.name, ha="center", va="center", fontsize=7.5
            ).set_clip_on(True)
    for press in story.presses:
        axes.broken_barh([(press.start - begin, press.end - press.start)], (0.42, 0.5), facecolors=_INK)


def _span(axes: Axes) -> float:
    low, high = axes.get_xlim()
    return float(high - low)


def _incidents(axes: Axes, story: Story, begin: float, *, named: bool) -> None:
    """Mark kills, interruptions and sessions through every lane, and name them above the top one."""
    for span in story.dead:
        axes.axvspan(
            span.start - begin, span.end - begin, facecolor=_KILL, alpha=0.15, hatch="////", edgecolor=_KILL
        )
        axes.axvline(span.start - begin, color=_KILL, linewidth=1.8)
    for at, _ in story.interruptions:
        axes.axvline(at - begin, color=_INK, linewidth=1.1, linestyle=(0, (4, 2)))
    for at, _ in story.sessions:
        axes.axvline(at - begin, color=_SESSION, linewidth=1.1, linestyle=":")
    if named:
        for at, row, text, colour in _notes(story):
            axes.annotate(text, (at - begin, _NOTE_ROWS[row]), color=colour, weight="bold", **_NOTE)


def _notes(story: Story) -> Iterator[tuple[float, int, str, str]]:
    """Yield when, row, words and colour. A kill has the upper row: its session follows at once below."""
    for span in story.dead:
        yield span.start, 1, f"SIGKILL\nback after {span.end - span.start:.1f} s", _KILL
    for at, heard_ms in story.interruptions:
        yield at, 0, f"interrupted\n{heard_ms / 1000:.1f} s were heard", _INK
    for at, rung in story.sessions:
        yield at, 0, f"session\n{rung}", _SESSION


def _of(story: Story, role: str) -> list[Line]:
    return [line for line in story.lines if line.role == role]


def _lines(axes: Axes, lines: list[Line], begin: float, end: float, colour: str) -> None:
    """Write what this side said, the user above the wave and the device below it."""
    per_second = 190 / (end - begin)  # characters that fit, at this size and width
    ends = [*(line.start for line in lines), end][1:]
    for line, until in zip(lines, ends, strict=False):
        room = max(12, int((until - line.start) * per_second) - 1)
        _write(axes, line, line.start - begin, room, colour)


def _write(axes: Axes, line: Line, at: float, room: int, colour: str) -> None:
    user = line.role == "user"
    wrapped = textwrap.wrap(f"“{line.text}”", room, max_lines=2 if user else 5, placeholder=" …”")
    axes.annotate(
        "\n".join(wrapped),
        (at, 1.08 if user else -1.4),
        color=colour,
        fontsize=8.5,
        style="italic",
        va="bottom" if user else "top",
        annotation_clip=False,
        linespacing=1.25,
    )


def _words_around(figure: Any, story: Story, medians: str) -> None:
    figure.text(_LEFT, 0.945, "Pressel: press, speak, hear the answer", fontsize=17, weight="bold")
    rungs = ", then ".join(rung for _, rung in story.sessions) or "none"
    counts = [
        _count(len(story.presses), "press", "presses"),
        _count(len(story.interruptions), "interruption", "interruptions"),
        _count(len(story.dead), "kill", "kills"),
    ]
    facts = f"{', '.join(counts)}; session {rungs}{medians}"
    figure.text(_LEFT, 0.915, facts, fontsize=9.5, color=_PALE)
    names = [("mic", 0.5, "microphone", _MIC), ("speaker", 0.5, "speaker", _SPEAKER)]
    names += [("panel", 0.83, "button", _INK), ("panel", 0.28, "state", _INK)]
    for lane, share, name, colour in names:
        low, high = _LANES[lane]
        at = low + (high - low) * share
        figure.text(_LEFT - 0.008, at, name, ha="right", va="center", color=colour, weight="bold")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _medians(events: list[dict[str, Any]]) -> str:
    """Return the medians of the turns' latencies as words."""
    turns = [event["latencies"] for event in events if event["event"] == "turn"]
    words = []
    for key, name in _LATENCIES.items():
        values = [turn[key] for turn in turns if key in turn]
        if values:
            words.append(f"{name} {np.median(values):.0f} ms")
    return f"; medians: {', '.join(words)}" if words else ""


def _legend(figure: Any, story: Story) -> None:
    """Name the colours of the states that came, in the order of the table."""
    seen = {span.name for span in story.states}
    at = _LEFT
    for name in (name for name in _STATES if name in seen):
        figure.text(at, 0.045, "\u25a0", color=_STATES[name], fontsize=13, va="center")
        figure.text(at + 0.012, 0.046, name, fontsize=8.5, color=_PALE, va="center")
        at += 0.026 + 0.0058 * len(name)


def draw_folder(folder: Path) -> Path:
    """Draw the picture of a demo's folder from its three files."""
    events = read_events(folder / "events.jsonl")
    starts = {event["file"]: event["start"] for event in events if event["event"] == "recording"}
    mic, speaker = (load(folder / name, starts[name]) for name in ("mic.wav", "speaker.wav"))
    draw(events, mic, speaker, folder / "timeline.png")
    return folder / "timeline.png"


if __name__ == "__main__":
    print(draw_folder(Path(sys.argv[1])))
