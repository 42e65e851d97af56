"""The bookkeeping of replies that were let through."""

from device.core.replies import Replies


def test_replies_are_counted_from_admission_to_the_last_sample() -> None:
    replies = Replies()
    assert not replies
    replies.admit("r1")
    replies.add_words("r1", "a c")
    replies.add_words("r1", "a b", whole=True)
    replies.add_words("other", "x")
    assert "r1" in replies
    assert not replies.sounding
    replies.mark_sounding("r1")
    assert replies.sounding
    assert replies.unfinished == ["r1"]
    replies.mark_whole("r1")
    assert replies.unfinished == []
    assert replies.settle("r1") == "a b"
    assert not replies


def test_a_cut_reply_gives_its_words_once() -> None:
    replies = Replies()
    replies.admit("r1")
    replies.add_words("r1", "a b")
    replies.cut_all()
    assert "r1" not in replies
    assert replies.cut_words("r1") == "a b"
    assert replies.cut_words("r1") is None


def test_a_reply_that_broke_off_was_said_as_far_as_it_sounded() -> None:
    replies = Replies()
    for name in ("whole", "broken", "mute"):
        replies.admit(name)
        replies.add_words(name, "once upon a time there was a king who had no crown")
    replies.mark_whole("whole")
    assert replies.break_off() == ["broken", "mute"]
    assert replies.settle("whole", 1000) == "once upon a time there was a king who had no crown"
    assert replies.settle("broken", 1000) == "once upon a…"
    assert replies.settle("mute", 0) == ""


def test_a_reply_without_sound_keeps_its_words_when_it_breaks_off() -> None:
    replies = Replies()
    replies.admit("r1")
    replies.add_words("r1", "a b")
    replies.break_off()
    assert replies.settle("r1") == "a b"


def test_replies_and_their_words_are_bounded() -> None:
    replies = Replies()
    for n in range(8):
        assert not replies.full
        replies.admit(f"r{n}")
    assert replies.full
    for _ in range(1000):
        replies.add_words("r0", "x" * 1000)
    assert len(replies.settle("r0")) == 20_000
