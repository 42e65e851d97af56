"""What is remembered of a conversation, and how much of a reply was heard."""

from device.core.sessions import Memory, Turn, heard_part, said_part


def test_a_late_transcript_takes_the_place_of_its_turn() -> None:
    memory = Memory()
    memory.place("u1", "user")
    memory.fill("r1", "assistant", "Hello!")
    assert memory.turns == (Turn("assistant", "Hello!"),)
    memory.fill("u1", "user", " hi \n there ")
    assert memory.turns == (Turn("user", "hi there"), Turn("assistant", "Hello!"))
    assert memory.has("u1")
    assert not memory.has("u2")


def test_only_the_last_turns_are_kept_and_each_is_bounded() -> None:
    memory = Memory((Turn("user", "old"),), keep=2, max_chars=3)
    for n in range(40):
        memory.fill(f"k{n}", "user", f"{n}abc")
    assert memory.turns == (Turn("user", "38a"), Turn("user", "39a"))
    assert len(memory._entries) <= 8


def test_keeping_no_turns_keeps_no_words() -> None:
    memory = Memory((Turn("user", "old"),), keep=0)
    memory.fill("a", "user", "secret")
    assert memory.turns == ()


def test_the_heard_part_ends_at_a_whole_word() -> None:
    text = "once upon a time there was"
    assert heard_part(text, 500, 1000) == "once upon a…"
    assert heard_part(text, 2000, 2000) == text
    assert heard_part(text, 0, 1000) == ""
    assert heard_part(text, 10, 0) == ""
    assert heard_part("word", 500, 1000) == "wo…"


def test_words_that_run_ahead_of_the_sound_were_not_heard() -> None:
    assert heard_part("once upon a time there was a king", 600, 600) == "once upon a…"


def test_places_without_words_are_bounded_too() -> None:
    memory = Memory((Turn("user", "old"),), keep=2)
    for n in range(1000):
        memory.place(f"k{n}", "assistant")
    assert len(memory._entries) <= 8


def test_what_is_kept_is_safe_to_show() -> None:
    memory = Memory((Turn("user", "\x1b[2Jold"),))
    memory.fill("a", "assistant", "\u202enew\x07")
    assert memory.turns == (Turn("user", "[2Jold"), Turn("assistant", "new"))


def test_of_a_reply_that_broke_off_as_much_was_said_as_its_sound_can_hold() -> None:
    text = "once upon a time there was a king"
    assert said_part(text, 1000) == "once upon a…"
    assert said_part(text, 60_000) == text
    assert said_part(text, 0) == ""
