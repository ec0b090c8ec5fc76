"""The settings, with the lines of the queue's log that say which process has which role."""

from oroboros.settings import *  # noqa: F403
from oroboros.settings import LOGGING

LOGGING["loggers"]["django-q"]["level"] = "INFO"
