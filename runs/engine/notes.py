"""The notes of a run: what is not honored of its application, and what a reviewer should know."""

from collections.abc import Sequence
from typing import Any

Note = dict[str, Any]


def replace_notes(
    notes: Sequence[Note], generation: int, topic: str, sentences: Sequence[str]
) -> list[Note]:
    """Return `notes` with the sentences in place of those of this topic and generation."""
    key = {"generation": generation, "step": topic}
    others = [note for note in notes if not note.items() >= key.items()]
    return others + [{**key, "text": sentence} for sentence in dict.fromkeys(sentences)]


def list_new_texts(before: Sequence[Note], after: Sequence[Note]) -> list[str]:
    """Return the texts of the notes that `before` does not have."""
    return [note["text"] for note in after if note not in before]
