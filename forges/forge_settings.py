"""The settings of the forge: which one, which repository, and the files of its secrets."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from host.config import Config
from host.errors import Refused
from host.masking.secret_file import read_secret

FORGES = ("github", "gitlab", "gitea", "forgejo")
FORGES_WITH_DEPLOYMENTS = ("github", "gitlab")
# Where each forge is if FORGE_URL is not set; Gitea has no address that most teams use.
DEFAULT_URLS = {
    "github": "https://github.com",
    "gitlab": "https://gitlab.com",
    "forgejo": "https://codeberg.org",
}
PULL_REQUEST_POLICIES = ("label", "all", "none")
# The number of parts of a repository's path: only GitLab has groups within groups.
MOST_PARTS = {"gitlab": 20}


@dataclass(frozen=True)
class ForgeSettings:
    """The one repository on the one forge whose pull requests get previews.

    `policy` is one of PULL_REQUEST_POLICIES. Without `token_file`, or `app_id` with its key,
    Oroboros reads deliveries, and neither asks the forge nor reports to it. `per_author`: the open
    previews of one author; 0: any number. `required_checks`: external checks that must succeed
    before a preview starts. `ship_checks`: those that must before a run ships; `merges`: the forge
    merges what was approved.
    """

    forge: str
    url: str
    repository: str
    policy: str
    label: str
    paths: tuple[str, ...]
    target_branch: str
    token_file: Path | None
    secret_file: Path | None
    per_author: int = 0
    required_checks: tuple[str, ...] = ()
    ship_checks: tuple[str, ...] = ()
    merges: bool = False
    approves_by_review: bool = False
    reports_deployments: bool = False
    app_id: str = ""
    app_key_file: Path | None = None

    @property
    def reads_checks(self) -> bool:
        """Whether a preview or a run waits for external checks."""
        return bool(self.required_checks or self.ship_checks)

    @property
    def has_token(self) -> bool:
        """Whether the forge's API can be used: with a token, or as a GitHub App."""
        return self.token_file is not None or bool(self.app_id)

    def read_token(self) -> str:
        """Return the token. Raises Refused `secret_unreadable`."""
        return read_secret("FORGE_TOKEN_FILE", self.token_file)

    def read_webhook_secret(self) -> str:
        """Return the webhooks' secret. Raises Refused `secret_unreadable`."""
        return read_secret("FORGE_WEBHOOK_SECRET_FILE", self.secret_file)


def read_forge_settings(config: Config) -> ForgeSettings | None:
    """Return the settings; None if no forge is set. Raises Refused `setting_invalid`."""
    forge = config.get("FORGE")
    if not forge:
        return None
    _require_one_of("FORGE", forge, FORGES)
    policy = config.get("PREVIEW_PULL_REQUESTS", "label")
    _require_one_of("PREVIEW_PULL_REQUESTS", policy, PULL_REQUEST_POLICIES)
    app_id, app_key_file = _read_app(config, forge)
    return ForgeSettings(
        forge=forge,
        url=_read_url(config, forge),
        repository=_read_repository(config, forge),
        policy=policy,
        label=config.get("PREVIEW_LABEL", "preview"),
        paths=tuple(config.get("PREVIEW_PATHS").replace(",", " ").split()),
        per_author=config.get_integer("PREVIEW_PER_AUTHOR", 0),
        required_checks=config.get_names("PREVIEW_REQUIRED_CHECKS"),
        ship_checks=config.get_names("SHIP_REQUIRED_CHECKS"),
        merges=config.get_choice("SHIP_THROUGH") == "pull-request",
        approves_by_review=config.get_boolean("APPROVE_BY_REVIEW"),
        target_branch=config.target_branch,
        token_file=_read_path(config.get("FORGE_TOKEN_FILE")),
        secret_file=_read_path(config.get("FORGE_WEBHOOK_SECRET_FILE")),
        reports_deployments=_read_deployments(config, forge),
        app_id=app_id,
        app_key_file=app_key_file,
    )


def require_forge_settings(config: Config) -> ForgeSettings:
    """Return the settings. Raises Refused `forge_not_set` (404), `setting_invalid`."""
    settings = read_forge_settings(config)
    if settings is None:
        raise Refused("forge_not_set", "FORGE is not set: see docs/forges.md.", status=404)
    return settings


def _read_app(config: Config, forge: str) -> tuple[str, Path | None]:
    app_id, key_file = config.get("FORGE_APP_ID"), _read_path(config.get("FORGE_APP_KEY_FILE"))
    if not app_id and key_file is None:
        return "", None
    if forge != "github":
        raise Refused("setting_invalid", "FORGE_APP_ID is for GitHub only.")
    if not app_id or key_file is None:
        raise Refused("setting_invalid", "FORGE_APP_ID and FORGE_APP_KEY_FILE need each other.")
    if config.get("FORGE_TOKEN_FILE"):
        detail = "Set FORGE_TOKEN_FILE, or FORGE_APP_ID with its key; not both."
        raise Refused("setting_invalid", detail)
    return app_id, key_file


def _read_deployments(config: Config, forge: str) -> bool:
    is_on = config.get_boolean("FORGE_DEPLOYMENTS")
    if is_on and forge not in FORGES_WITH_DEPLOYMENTS:
        raise Refused("setting_invalid", f"FORGE_DEPLOYMENTS: {forge} has no API for deployments.")
    return is_on


def _read_path(value: str) -> Path | None:
    return Path(value) if value else None


def _require_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        detail = f"{name} must be one of {', '.join(known)}, not {value!r}."
        raise Refused("setting_invalid", detail)


def _read_url(config: Config, forge: str) -> str:
    url = config.get("FORGE_URL").rstrip("/") or DEFAULT_URLS.get(forge, "")
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        is_url = False
    if not is_url or "@" in url or "?" in url or "#" in url:
        raise Refused("setting_invalid", "FORGE_URL must be such as https://git.example.com.")
    return url


def _read_repository(config: Config, forge: str) -> str:
    repository = config.get("FORGE_REPOSITORY").strip("/")
    parts = repository.split("/")
    allowed = all(part and part.replace("-", "").replace("_", "").replace(".", "").isalnum()
                  for part in parts)  # fmt: skip
    if not allowed or not 2 <= len(parts) <= MOST_PARTS.get(forge, 2):
        raise Refused("setting_invalid", "FORGE_REPOSITORY must be such as owner/name.")
    return repository
