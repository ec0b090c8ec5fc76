"""Django's settings, all from the environment; every default is the safe value."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.templatetags.static import static
from django.urls import reverse_lazy

from accounts.sign_in.options import read_options
from host import config
from host.settings_rules import require_secrets
from slots.runtime import surface

BASE_DIR = Path(__file__).resolve().parents[1]
config.load_env_files()
OROBOROS = config.load()
env = environ.Env()

require_secrets(OROBOROS.environ)
SECRET_KEY = env("SECRET_KEY")
DEBUG = OROBOROS.get_boolean("DEBUG")
DOMAIN = OROBOROS.domain
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]", "api.localhost", f"api.{DOMAIN}"]
)
# Behind https cookies have the __Host- prefix, which browsers refuse over plain HTTP.
HTTPS = OROBOROS.is_https

INSTALLED_APPS = [
    "oroboros",
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.mfa",
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "django_q",
    "web",
    "accounts",
    "slots",
    "releases",
    "runs",
    "forges",
    "notifications",
]
# scripts/rollback.sh and the other release commands set this: they start a second sooner.
if env("OROBOROS_ONLY", default="") == "releases":
    INSTALLED_APPS = ["releases"]

MIDDLEWARE = [
    "runs.protection.check.answer_checks",
    "django.middleware.security.SecurityMiddleware",
    "web.security_headers.add_security_headers",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Compresses what the middleware below has left as it is to be read.
    "oroboros.page_transfer.compress_pages",
    "django.middleware.http.ConditionalGetMiddleware",
    "oroboros.page_transfer.tag_live_pages",
    "web.visible_answers.mark_control_characters",
    "corsheaders.middleware.CorsMiddleware",
    "web.null_characters.refuse_null_characters",
    "accounts.audit.middleware.audit_requests",
    "accounts.session_cookies.keep_own_cookies",
    "accounts.authentication.refuse_applications",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.sign_in.second_factor.require_second_factor",
    "django.contrib.messages.middleware.MessageMiddleware",
    "oroboros.reader_time_zone.use_reader_time_zone",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "oroboros.urls"
WSGI_APPLICATION = "oroboros.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.sign_in.views.add_page_context",
            ]
        },
    }
]

DATABASES = {"default": env.db("DATABASE_URL")}
DATABASES["default"].update(
    ENGINE="core.postgresql",
    CONN_MAX_AGE=None,
    CONN_HEALTH_CHECKS=True,
    OPTIONS={
        "connect_timeout": 5,
        "application_name": "oroboros",
        # Only the SQL of grants and leases is prepared, and planned once (docs/decisions/0004).
        "prepare_threshold": 0,
        "options": "-c plan_cache_mode=force_generic_plan",
    },
)
# In each process, for the counters of requests with tokens: one entry for each token and address.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# How people sign in (docs/decisions/0036). allauth has the flows; what it would mail, sign up or
# limit by itself is off: accounts.sign_in decides it, and the login throttle counts.
SIGN_IN = read_options(OROBOROS)
ACCOUNT_ADAPTER = "accounts.sign_in.adapters.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_NOTIFICATIONS = False
ACCOUNT_RATE_LIMITS = False
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*"]
ACCOUNT_REAUTHENTICATION_METHODS = ["password", "mfa"] if SIGN_IN.has_passwords else ["mfa"]
ACCOUNT_FORMS = {"reauthenticate": "accounts.sign_in.forms.ReauthenticateForm"}
SOCIALACCOUNT_ADAPTER = "accounts.sign_in.adapters.ProviderAccountAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_REAUTHENTICATION_REQUIRED = True
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "provider_class": "accounts.sign_in.provider.CheckedProvider",
        "OAUTH_PKCE_ENABLED": True,
    }
}
MFA_ADAPTER = "accounts.sign_in.adapters.FactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Oroboros"
MFA_TOTP_TOLERANCE = 1
MFA_RATE_LIMITS = False
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_FORMS = {
    "authenticate": "accounts.sign_in.forms.FactorForm",
    "reauthenticate": "accounts.sign_in.forms.FactorAgainForm",
    "authenticate_webauthn": "accounts.sign_in.forms.KeyForm",
    "reauthenticate_webauthn": "accounts.sign_in.forms.KeyAgainForm",
}

LANGUAGE_CODE = "en"
TIME_ZONE = OROBOROS.get("TIME_ZONE", "UTC")
USE_TZ = True
FORMAT_MODULE_PATH = ["oroboros.formats"]
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = OROBOROS.var / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Compressed files under names with a hash of their content, which browsers keep for ever.
    "staticfiles": {"BACKEND": "oroboros.static_files.HashedStaticFiles"},
}
CSRF_FAILURE_VIEW = "web.errors.csrf_failure"
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

# Browsers send a cookie to every port of a host name: these have names of their own, and the
# surfaces remove them from requests to a backend.
_PREFIX = "__Host-" if HTTPS else ""
SESSION_COOKIE_NAME = f"{_PREFIX}oroboros_session"
CSRF_COOKIE_NAME = f"{_PREFIX}oroboros_csrftoken"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # no third cookie
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [f"https://api.{DOMAIN}"] if HTTPS else []
SECURE_SSL_REDIRECT = False  # the proxy redirects; the runbook's curl uses http
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = ["security.W008"]  # SECURE_SSL_REDIRECT: see above
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

CORS_ALLOW_CREDENTIALS = False
CORS_URLS_REGEX = r"^/(api/|health)"
CORS_ALLOWED_ORIGIN_REGEXES = [rf"(?:{surface.build_origin_pattern(OROBOROS)})\Z"]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.HostAuthentication",
        "accounts.authentication.TokenAuthentication",
        "accounts.authentication.BrowserAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["web.permissions.HasAbility"],
    "DEFAULT_PARSER_CLASSES": ["web.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "web.visible_answers.VisibleJSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_PAGINATION_CLASS": "web.pagination.ResultsPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "web.errors.exception_handler",
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Oroboros",
    "DESCRIPTION": (
        "Preview, approve, ship and roll back every branch on one host.\n\n"
        "Programs authenticate with a token, `Authorization: Bearer oro_…`, created by "
        "`manage.py create_token`. On the host itself, requests of root and of the service's own "
        "user over loopback have the abilities of an operator. A request body is one JSON object. "
        'An error is `{"error": code, "detail": sentence}`.'
    ),
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "web.api_schema.complete_schema",
    ],
    "SCHEMA_PATH_PREFIX": "/api",  # groups the documentation by resource
    "SERVE_INCLUDE_SCHEMA": False,
    # The API's documentation loads Swagger UI from our own static files.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "/static/oroboros/icon.svg",
    # A deep link is a link within a button, which a screen reader and the keyboard do not reach.
    "SWAGGER_UI_SETTINGS": {"deepLinking": False},
    "SERVE_PERMISSIONS": ["web.permissions.HasAbility"],
    "AUTHENTICATION_WHITELIST": [],
    "APPEND_COMPONENTS": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "SECURITY": [{"token": []}],
    "ENUM_NAME_OVERRIDES": {
        "ReleaseStatus": "releases.rules.ReleaseStatus",
        "RunStatus": "runs.rules.Status",
        "StepStatus": "runs.rules.StepStatus",
    },
}

# A task has a run's id only; the journal says what to do (docs/decisions/0002).
# timeout: no step may take longer; a task that the queue ends is found again by its claim.
# retry: above timeout, or the queue would deliver a task again while it is executed.
STEP_SECONDS = OROBOROS.get_integer("STEP_TIMEOUT_SECONDS", 1800)
Q_CLUSTER: dict[str, Any] = {
    "name": f"oroboros-{OROBOROS.host_name}",
    "orm": "default",
    "workers": len(OROBOROS.slots) + 2,
    "queue_limit": 1,
    "bulk": 1,
    "timeout": 4 * STEP_SECONDS,
    "retry": 8 * STEP_SECONDS,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "save_limit": 500,
    "poll": 0.2,
    "label": "Queue",
}

# What the worker's supervisor repeats for apps above `runs`: name, seconds between, function.
WORKER_TASKS = (
    ("the forge's deliveries", 1.0, "forges.deliveries.process_waiting"),
    ("the messages to the forge", 1.0, "forges.reporting.outbox.report"),
    ("the checks before shipping", 30.0, "forges.shipping.required_checks.check_waiting"),
    ("the forge's pull requests", 120.0, "forges.reconciler.reconcile"),
    ("the notifications", 1.0, "notifications.sending.notify"),
    ("ended sessions", 3600.0, "accounts.sign_in.sessions.remove_expired"),
    ("old notifications", 3600.0, "notifications.collecting.remove_old"),
)

# What merges pull requests where SHIP_THROUGH says so: see `runs.landing`.
PULL_REQUEST_MERGER = "forges.shipping.merging"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "expected": {"()": "oroboros.log_lines.ExpectedRefusals"},
        "outages": {"()": "oroboros.log_lines.DatabaseOutages"},
    },
    "handlers": {
        "console": {
            "()": "oroboros.log_lines.LogHandler",
            "config": OROBOROS,
            "filters": ["expected", "outages"],
        }
    },
    # It logs each task that it enqueues or runs, among them a heartbeat every 5 s.
    # psycopg warns of what it ignores when a connection is lost.
    # fontTools lists all that it keeps of a font.
    "loggers": {
        "django-q": {"level": "WARNING"},
        "psycopg": {"level": "ERROR"},
        "fontTools": {"level": "WARNING"},
    },
    "root": {"handlers": ["console"], "level": "INFO"},
}

PREVIEW_KEEP_SECONDS = 72 * 3600
QUEUE_LIMIT = OROBOROS.get_integer("OROBOROS_QUEUE_LIMIT", 10000)
ADMISSION_FREE_MEMORY_MB = OROBOROS.get_integer("ADMISSION_FREE_MEMORY_MB", 256)
ADMISSION_FREE_DISK_MB = OROBOROS.get_integer("ADMISSION_FREE_DISK_MB", 1024)
HOST_NAME = OROBOROS.host_name
TOKEN_LIFETIME_DAYS = OROBOROS.get_integer("TOKEN_LIFETIME_DAYS", 90)
API_REQUESTS_PER_TOKEN = OROBOROS.get_integer("API_REQUESTS_PER_TOKEN", 600)
API_REQUESTS_PER_ADDRESS = OROBOROS.get_integer("API_REQUESTS_PER_ADDRESS", 3000)

UNFOLD = {
    "SITE_TITLE": "Oroboros",
    "SITE_HEADER": "Oroboros",
    "SITE_SUBHEADER": HOST_NAME,
    "SITE_URL": None,
    "SITE_SYMBOL": "all_inclusive",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("oroboros/icon.svg"),
        }
    ],
    "LOGIN": {"form": "accounts.login_throttle.LoginForm"},
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "runs.admin.dashboard.add_dashboard_context",
    "STYLES": [lambda request: static("oroboros/admin.css")],
    "SCRIPTS": [
        lambda request: static("oroboros/alpine-setup.js"),
        lambda request: static("oroboros/live.js"),
        lambda request: static("oroboros/preview-check.js"),
        lambda request: static("oroboros/changes.js"),
        lambda request: static("oroboros/drafts.js"),
        lambda request: static("oroboros/time-zone.js"),
        lambda request: static("oroboros/keyboard.js"),
        lambda request: static("oroboros/logs.js"),
        lambda request: static("oroboros/screenshots.js"),
        lambda request: static("oroboros/charts.js"),
    ],
    "ACCOUNT": {
        "navigation": [{"title": "Your account", "link": reverse_lazy("account-overview")}]
    },
    "SIDEBAR": {
        "navigation": "oroboros.navigation.build_navigation",
        "show_search": True,
        "command_search": True,
    },
    "COMMAND": {"search_callback": "oroboros.command_search.search"},
    "COLORS": {
        "primary": {
            "50": "oklch(97.1% .014 195)",
            "100": "oklch(94% .035 195)",
            "200": "oklch(89% .065 195)",
            "300": "oklch(81% .095 195)",
            "400": "oklch(72% .11 195)",
            "500": "oklch(60% .105 200)",
            "600": "oklch(51% .095 205)",
            "700": "oklch(44% .08 208)",
            "800": "oklch(38% .065 210)",
            "900": "oklch(33% .055 212)",
            "950": "oklch(24% .045 214)",
        }
    },
}
