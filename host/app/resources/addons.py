"""The add-ons of `app.json`: which of them Oroboros provides, and the variables of Redis.

Source: https://devcenter.heroku.com/articles/app-json-schema#addons
"""

from collections.abc import Iterable

REDIS = ("heroku-redis", "rediscloud", "redistogo")
# Every application has a database.
POSTGRES = ("heroku-postgresql",)
# No server listens there: a build that connects fails, in the preview already.
BUILD_URL = "redis://127.0.0.1:1/0"


def has_redis(plans: Iterable[str]) -> bool:
    """Return whether one of the plans (`heroku-redis:mini`) is a Redis server."""
    return any(_get_name(plan) in REDIS for plan in plans)


def describe_unknown(plans: Iterable[str]) -> list[str]:
    """Return a sentence on each add-on that is not provided."""
    names = [name for name in map(_get_name, plans) if name not in (*REDIS, *POSTGRES)]
    return [f"app.json: the add-on {name} is not provided here." for name in names]


def build_redis_variables(url: str) -> dict[str, str]:
    """Return the variables of an application whose server has that URL; none without one."""
    return {"REDIS_URL": url} if url else {}


def _get_name(plan: str) -> str:
    return plan.partition(":")[0]
