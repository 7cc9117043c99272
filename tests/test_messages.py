"""All messages in the sources follow the rules of plain English."""

import re
from collections import defaultdict

import pytest

from tests.messages import Message, Sources, literal
from tests.transcript import TRANSCRIPT, retold

# Codes whose messages compare two like values; all others state the fact.
COMPARISONS = {"wrong-checksum", "wrong-size"}
BANNED = re.compile(
    r"\b(lest|whoever|nobody|somebody|of old|at last|whether or no|hears?|tells?|speaks?|spoken|"
    r"lives?|goes by|is called by|save for|of its own accord)\b",
    re.IGNORECASE,
)
# The same error for an argument, and for a value that a file or a tensor cannot hold.
IN_TWO_CLASSES = {"bad-fill", "closed", "no-match", "no-source", "other-settings"}


@pytest.fixture(scope="module")
def listed() -> list[Message]:
    messages = Sources().messages()
    assert len(messages) > 150
    return messages


def test_messages_are_sentences_without_a_capital_and_a_full_stop(listed: list[Message]) -> None:
    for message in listed:
        for text in (message.text, *message.hint.split(" | ")):
            assert not re.match(r"[A-Z][a-z]", text), message
            assert not re.search(r"[^.]\.$", text), message
        assert message.text, message


def test_only_like_values_are_compared(listed: list[Message]) -> None:
    assert {m.code for m in listed if re.search(r"\bexpected\b.*\bgot\b", m.text)} <= COMPARISONS


def test_words_are_modern_and_do_not_personify_software(listed: list[Message]) -> None:
    for message in listed:
        assert not BANNED.search(literal(f"{message.text} {message.hint}")), message


def test_a_code_is_kebab_case_and_of_one_class(listed: list[Message]) -> None:
    kinds = defaultdict(set)
    for message in listed:
        code = re.sub(r"\{.*?\}", "x", message.code)
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code), message
        kinds[code].add(message.kind)
    assert {code for code in kinds if len(kinds[code] - {"Notice"}) > 1} <= IN_TWO_CLASSES


def test_the_transcript_is_what_commands_print() -> None:
    """After a change of messages, run `python -m tests.transcript` to update it."""
    written = TRANSCRIPT.read_text()
    assert list(retold(written)) == written.splitlines()
