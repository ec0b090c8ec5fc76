"""Which file names carry a hash of the file's content, as bundlers write them.

Vite, Rollup and Astro: `index-B3fZk9Qa.js`, `page.DiGsd3kf.css`; webpack and Create React App:
`main.073c9b0a.chunk.js`; esbuild and Angular: `chunk-5NOVQPGV.js`; Parcel: `index.8f9a1b2c.js`;
Django: `base.55e7cbb9ba48.css`; Nuxt and Next.js: `B3fZk9Qa.js`, `3f9a1c2b4d5e6f70.css`.

A name cannot prove it. What a page loads is judged generously; what people save, such as tables
and documents, must look random: dates, numbers and words are no hashes.
"""

import re
from itertools import pairwise

SCRIPTS = frozenset({"js", "mjs", "cjs", "css", "map"})
FONTS = frozenset({"woff", "woff2", "ttf", "otf", "eot"})
MEDIA = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "ico", "webm", "mp4", "mp3"})
ASSETS = SCRIPTS | FONTS | MEDIA | {"wasm"}
HEXADECIMAL = re.compile(r"[0-9a-f]{8,64}")
ALPHANUMERIC = re.compile(r"[0-9A-Za-z]{8,64}")
# Rollup's hashes are eight characters of base64url, of which - and _ may be some.
BASE64URL = re.compile(r"[0-9A-Za-z_-]{8}")
# chapter10, 2024final, 1200x630, screenshotSmall
WORDS = re.compile(
    r"[A-Z]?[a-z]+[0-9]+|[0-9]+[A-Z]?[a-z]+|[0-9]+x[0-9]+|[A-Z]?[a-z]{2,}(?:[A-Z][a-z]{2,})*"
)
# A page is asked for by its address, and its address stays.
PAGES = frozenset({"html", "htm"})
SEPARATOR = re.compile(r"[-_]")
# How often letters of one case and digits follow each other in what is certainly no word.
RANDOM_CHANGES = 3


def is_hashed(name: str) -> bool:
    """Return whether a file of that name is replaced by one of another name when it changes."""
    return split_hash(name) is not None


def is_certainly_hashed(name: str) -> bool:
    """Return whether a file of that name never changes, so that browsers may keep it for long.

    Stricter than `is_hashed`: a wrong yes would show an old picture for a year. Letters of both
    cases count in scripts and fonts only, since people name pictures so (`hero-iPhone8s.png`).
    """
    *parts, extension = name.split(".")
    extension = extension.lower()
    if extension not in ASSETS:
        return False
    tokens = [token for part in parts for token in (part, *_list_endings(part))]
    return any(_is_certain_hash(token, extension) for token in tokens)


def _list_endings(part: str) -> list[str]:
    return [part[match.end() :] for match in SEPARATOR.finditer(part)]


def _is_certain_hash(token: str, extension: str) -> bool:
    if HEXADECIMAL.fullmatch(token):
        return not token.isdigit() and not token.isalpha()
    is_code = extension in SCRIPTS | FONTS | {"wasm"}
    return is_code and bool(BASE64URL.fullmatch(token)) and _count_changes(token) >= RANDOM_CHANGES


def split_hash(name: str) -> str | None:
    """Return the name without its hash (`app.js` for `app-3f9a1c2b.js`); None if it has none."""
    *parts, extension = name.split(".")
    if extension.lower() in PAGES:
        return None
    for number, part in enumerate(parts):
        before = ".".join(parts[:number])
        # The whole part: `app.3f9a1c2b.js`, or `3f9a1c2b.js`, where any word might stand.
        if _is_hash(part, extension.lower(), is_generous=number > 0):
            return ".".join([*filter(None, [before]), *parts[number + 1 :], extension])
        for separator in SEPARATOR.finditer(part):
            if separator.start() and _is_hash(part[separator.end() :], extension.lower()):
                plain = part[: separator.start()]
                return ".".join([*parts[:number], plain, *parts[number + 1 :], extension])
    return None


def _is_hash(token: str, extension: str, *, is_generous: bool = True) -> bool:
    if HEXADECIMAL.fullmatch(token):
        return not token.isdigit() or (extension in SCRIPTS and is_generous)
    is_asset = extension in ASSETS and is_generous
    changes = _count_changes(token)
    if ALPHANUMERIC.fullmatch(token):
        if WORDS.fullmatch(token):
            return False
        is_base32 = len(token) == 8 and token.isupper()
        return changes >= RANDOM_CHANGES or (is_asset and (changes > 0 or is_base32))
    has_both_cases = token != token.lower() and token != token.upper()
    return is_asset and bool(BASE64URL.fullmatch(token)) and has_both_cases and changes > 1


def _count_changes(token: str) -> int:
    """Return how often a letter of one case, a digit or a sign follows one of another kind."""
    kinds = [(char.isdigit(), char.isupper(), char.islower()) for char in token]
    return sum(first != second for first, second in pairwise(kinds))
