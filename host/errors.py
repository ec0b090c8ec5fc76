"""The exception for an action that a rule refuses."""

from collections.abc import Mapping


class Refused(Exception):
    """A rule refuses the action.

    `code` is stable snake_case for programs, `detail` a sentence for people that says what to
    do next, `status` the HTTP status (400 malformed, 404 unknown, 409 a rule), and `fields` maps
    parts of the input to their errors.
    """

    def __init__(
        self, code: str, detail: str, *, status: int = 409, fields: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.fields = dict(fields or {})


class ApplicationRefused(Refused):
    """The application's manifest is invalid, or one of its commands is not allowed (400).

    Or a command succeeded and did not make what it has to make. `failure_code` is the code of
    a run or a build that fails because of it.
    """

    FAILURE_CODES = {
        "manifest_invalid": "MANIFEST_INVALID",
        "command_refused": "COMMAND_REFUSED",
        "effect_missing": "EFFECT_MISSING",
    }

    def __init__(self, code: str, detail: str, *, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(code, detail, status=400, fields=fields)
        self.failure_code = self.FAILURE_CODES[code]


class DeliveryFailed(Refused):
    """The receiver did not take a message.

    `is_permanent`: it will not take the same one later either. `retry_after`: the seconds that it
    asks to wait, if it does.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        is_permanent: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.is_permanent = is_permanent
        self.retry_after = retry_after
