"""The installation's env files with secrets, and what the first installation writes there."""

import secrets
from collections.abc import Callable

from host.app.dependencies import registries
from host.config import Config
from ops import env_files
from ops.postgres import system_server

# Settings that the first installation copies from the shell to worker.env.
SHELL_SETTINGS = (*env_files.REPOSITORY_SETTINGS, *registries.ALL_NAMES)


def _build_api_env(config: Config) -> dict[str, str]:
    url = config.database_url
    if not url:  # else the operator named a database of his own, which exists
        password = system_server.ensure_role("oroboros")
        system_server.ensure_database("oroboros", "oroboros")
        url = f"postgresql://oroboros:{password}@127.0.0.1:{system_server.read_port()}/oroboros"
    values = {
        "OROBOROS_HOME": str(config.home),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": url,
    }
    domain = config.get("OROBOROS_DOMAIN")
    return values | ({"OROBOROS_DOMAIN": domain} if domain else {})


def _build_worker_env(config: Config) -> dict[str, str]:
    admin, template = config.preview_admin_database_url, config.preview_database_url_template
    if not admin:
        password = system_server.ensure_role("oroboros_admin", "CREATEDB", "CREATEROLE")
        system_server.close_to_public("oroboros_admin")
        server = f"127.0.0.1:{system_server.read_port()}"
        admin = f"postgresql://oroboros_admin:{password}@{server}/postgres"
        template = f"postgresql://{server}/{{db_name}}"
    return {
        "PREVIEW_ADMIN_DATABASE_URL": admin,
        "PREVIEW_BACKEND_DATABASE_URL_TEMPLATE": template,
        **{name: config.get(name) for name in SHELL_SETTINGS if config.get(name)},
    }


SECRET_FILES: dict[str, Callable[[Config], dict[str, str]]] = {
    "api.env": _build_api_env,
    "worker.env": _build_worker_env,
}
# With those of applications that every installation has.
ALL_NAMES = (*SECRET_FILES, "worker-preview.env", "app.env")
