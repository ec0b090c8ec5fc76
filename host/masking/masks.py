"""Masks the values of secrets in text and in streams of bytes.

The rule (docs/reference/env-files.md, "Masked values"): a value of at least `MIN_SECRET_LENGTH`
characters is replaced by `MASK` wherever it occurs, as it is or as JSON, a URL or HTML write it; of
a URL also its password, and of a value of several lines also each line. Shorter values occur in
other text by chance, and other encodings of a value, such as base64, are not recognized.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK = "••••••••"
MIN_SECRET_LENGTH = 6  # shorter ones occur in other values by chance, and are not searched for
# The lines around a key or certificate (RFC 7468) are the same for all of them.
ENCAPSULATION = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")


@dataclass(frozen=True)
class Masks:
    """What is masked: the spellings of each secret, the longest first."""

    words: tuple[str, ...] = ()

    @cached_property
    def _raw_words(self) -> list[bytes]:
        return [word.encode("utf-8", "surrogateescape") for word in self.words]

    @cached_property
    def _first_bytes(self) -> frozenset[int]:
        return frozenset(word[0] for word in self._raw_words)

    @cached_property
    def _pattern(self) -> "re.Pattern[bytes] | None":
        words = [re.escape(word) for word in self._raw_words]
        return re.compile(b"|".join(words)) if words else None

    @cached_property
    def longest(self) -> int:
        """The length in bytes of the longest spelling; 0 if nothing is masked."""
        return max(map(len, self._raw_words), default=0)

    def __or__(self, other: "Masks") -> "Masks":
        return _sort_words({*self.words, *other.words})

    def mask_bytes(self, raw: bytes) -> bytes:
        """Return the bytes with the mask in place of each secret."""
        return raw if self._pattern is None else self._pattern.sub(MASK.encode(), raw)

    def cover_bytes(self, raw: bytes) -> bytes:
        """Return the bytes with stars in place of each secret: every offset stays the same."""
        if self._pattern is None:
            return raw
        return self._pattern.sub(lambda match: b"*" * len(match[0]), raw)

    def mask(self, text: str) -> str:
        """Return the text with the mask in place of each secret."""
        if self._pattern is None:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        return self.mask_bytes(raw).decode("utf-8", "surrogatepass")

    def mask_data(self, data: Any) -> Any:
        """Return the JSON value with each string in it masked; keys stay."""
        if isinstance(data, str):
            return self.mask(data)
        if isinstance(data, dict):
            return {key: self.mask_data(value) for key, value in data.items()}
        return [self.mask_data(item) for item in data] if isinstance(data, list) else data

    def split_complete(self, raw: bytes) -> int:
        """Return how many of the bytes are complete: no secret begins before and ends after them.

        The rest may be the beginning of a secret, whose other part has not been read yet.
        """
        if self._pattern is None:
            return len(raw)
        begins = len(raw) - self._find_open_end(raw)
        for match in self._pattern.finditer(raw, max(0, begins - self.longest)):
            if match.start() < begins < match.end():
                return match.end()
        return begins

    def _find_open_end(self, raw: bytes) -> int:
        """Return the length of the longest end of `raw` with which a longer secret begins."""
        for length in range(min(len(raw), self.longest - 1), 0, -1):
            if raw[-length] in self._first_bytes and self._begins_with(raw[-length:]):
                return length
        return 0

    def _begins_with(self, part: bytes) -> bool:
        return any(len(word) > len(part) and word.startswith(part) for word in self._raw_words)


def create_masks(secrets: Iterable[str]) -> Masks:
    """Return the masks of the values; those that are too short are left out."""
    return _sort_words({word for value in secrets for word in _list_words(value)})


NO_MASKS = Masks()


def _sort_words(words: set[str]) -> Masks:
    # The longest first: a pattern takes the first alternative that fits.
    return Masks(tuple(sorted(words, key=lambda word: (-len(word), word))))


def _list_words(value: str) -> Iterator[str]:
    for part in {value, *_read_passwords(value), *value.split("\n")}:
        word = part.strip()
        if len(word) >= MIN_SECRET_LENGTH and not ENCAPSULATION.fullmatch(word):
            yield from _spell(word)


def _spell(word: str) -> set[str]:
    import html  # Only here: it has the names of all characters, and each command imports us.

    return {
        word,
        json.dumps(word)[1:-1],
        json.dumps(word, ensure_ascii=False)[1:-1],
        quote(word, safe=""),
        quote(word),
        quote_plus(word),
        html.escape(word),
        repr(word)[1:-1],
    }


def _read_passwords(value: str) -> set[str]:
    """Return the password of a URL as it is written and as it is meant."""
    try:
        password = urlsplit(value).password or "" if "://" in value else ""
    except ValueError:
        return set()
    return {password, unquote(password)}
