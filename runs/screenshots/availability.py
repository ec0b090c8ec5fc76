"""Whether this host takes pictures: read apart, so that a page needs nothing that takes them."""

from host.config import Config
from host.screenshots.chromium import find_chromium
from runs.screenshots import rules


def find_obstacle(config: Config) -> str:
    """Return why this host takes no pictures; "" if it does. Raises Refused `setting_invalid`."""
    return rules.find_obstacle(
        is_off=config.get_choice("PREVIEW_SCREENSHOTS") == "off",
        is_systemd=config.is_systemd,
        has_chromium=find_chromium() is not None,
        has_user=config.screenshot_user is not None,
    )
