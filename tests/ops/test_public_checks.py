"""The doctor's findings about public mode: what was observed, and what to do."""

import pytest

from host import config as configuration
from ops.doctor import public_checks

DAY = 86400
DIRECTORY = "https://ca.example/dir"
judge_certificate = public_checks.judge_certificate


@pytest.mark.parametrize(
    ("finding", "observed", "remedy"),
    [
        (public_checks.judge_name("api.oro.test", []), "has no address", "*.oro.test"),
        (public_checks.judge_name("api.oro.test", ["127.0.0.1", "::1"]), "127.0.0.1", "A and AAAA"),
        (public_checks.judge_redirect(80, None, "", "refused"), "refused", "apply-settings.sh"),
        (public_checks.judge_redirect(80, 200, ""), "200", "redirect to HTTPS"),
        (public_checks.judge_redirect(80, 308, "http://x/"), "308 http://x/", "redirect to HTTPS"),
        (judge_certificate("a", None, None, 0, "expired"), "expired", "journalctl"),
        (judge_certificate("a", 0, 90 * DAY, 84 * DAY), "6.0 more days", "ports 80 and 443"),
        (judge_certificate("a", 0, 100, 95), "0.0 more days", "renews"),
        (public_checks.judge_authority(DIRECTORY, None, 0, "no route"), "no route", "ACME_CA_ROOT"),
        (public_checks.judge_authority(DIRECTORY, 0, 61), "61 s", "set-ntp true"),
    ],
)
def test_a_fault_of_public_mode_has_its_remedy(finding, observed, remedy):
    assert not finding.is_ok
    assert observed in finding.observed and remedy in finding.remedy


@pytest.mark.parametrize(
    "finding",
    [
        public_checks.judge_name("api.oro.test", ["203.0.113.7"]),
        public_checks.judge_name("api.oro.test", ["127.0.0.1", "fe80::1%eth0"]),
        public_checks.judge_redirect(80, 308, "https://api.oro.test/"),
        judge_certificate("a", 0, 90 * DAY, 82 * DAY),
        judge_certificate("a", 0, 100, 80),
        public_checks.judge_authority(DIRECTORY, 60, 0),
    ],
)
def test_what_is_right_is_no_fault(finding):
    assert finding.is_ok


def test_people_open_production_the_admin_and_the_previews():
    names = public_checks.list_names(configuration.load({"OROBOROS_DOMAIN": "oro.test"}))
    assert names == ["app.oro.test", "api.oro.test", "any.preview.oro.test"]


def test_without_public_mode_nothing_is_checked():
    assert list(public_checks.check_public(configuration.load({}))) == []
