"""What a simulated model reads in its prompt."""

from __future__ import annotations

from companion.local.items import Turn
from companion.simulators.mind import retold


def test_a_conversation_in_the_prompt_is_read() -> None:
    prompt = "Be kind.\nThe conversation so far:\nUser: hi\nYou: Hello: you.\nAssistant: Well?\nOther: no"
    assert retold(prompt) == [
        Turn("user", "hi"),
        Turn("assistant", "Hello: you."),
        Turn("assistant", "Well?"),
    ]
    assert retold("Be kind.") == []
