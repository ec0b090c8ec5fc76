"""The one exception that carries a rule's "no" to whoever asked."""

from collections.abc import Mapping


class Refused(Exception):
    """A rule said no.

    `code` is stable snake_case for programs, `detail` a sentence for people that says what to
    do next, `status` the HTTP status of the answer (400 malformed, 404 unknown, 409 a rule), and
    `fields` names what was wrong with which part of the input.
    """

    def __init__(
        self, code: str, detail: str, *, status: int = 409, fields: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.fields = dict(fields or {})
