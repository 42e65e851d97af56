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
    assert replies.cut_words("r1") == ""
