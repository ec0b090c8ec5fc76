"""The arguments of the benchmarks."""

import argparse
from typing import TypeVar

Number = TypeVar("Number", int, float)


def make_parser(text: str | None) -> argparse.ArgumentParser:
    """Return a parser whose `--help` has `text`, the benchmark's docstring, as it is written."""
    return argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def parse_one(text: str | None, name: str, default: Number, meaning: str) -> Number:
    """Parse the command line of a benchmark with one argument, a number that may be left out.

    It is of the type of `default`. A benchmark parses before it imports what starts a server.
    """
    parser = make_parser(text)
    add_number(parser, name, default, meaning)
    return getattr(parser.parse_args(), name)


def add_number(parser: argparse.ArgumentParser, name: str, default: Number, meaning: str) -> None:
    """Add a number above zero: an option if the name has dashes, else an argument."""
    is_option = name.startswith("-")
    parser.add_argument(
        name,
        type=positive_int if isinstance(default, int) else positive_float,
        default=default,
        help=f"{meaning} (default: %(default)s)",
        **({} if is_option else {"nargs": "?"}),
    )


def positive_int(text: str) -> int:
    """Return the text as a whole number. Raises ArgumentTypeError if it is not above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above zero")
    return int(text)


def positive_float(text: str) -> float:
    """Return the text as a number. Raises ArgumentTypeError if it is not above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return value
