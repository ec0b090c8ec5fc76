"""The doctor of a host with the most slots that the configuration accepts."""

from host import config as configuration
from ops.doctor import checks
from tests.environment import free_offset


def test_the_doctor_checks_the_ports_surfaces_routes_and_mail_of_64_slots(tmp_path):
    config = configuration.load(
        {
            "OROBOROS_SLOTS": "64",
            "OROBOROS_VAR": str(tmp_path / "var"),
            "OROBOROS_PORT_OFFSET": str(free_offset()),
        }
    )
    ports = {one.subject: one for one in checks.check_ports(config)}
    last = config.slot("preview-64")
    assert {
        f"port {last.web_port} web preview-64",
        f"port {last.backend_port} backend of preview-64",
        f"port {last.redis_port} Redis of preview-64",
    } <= set(ports)
    rows = [one.subject for one in checks.check_services(config)]
    assert [f"Web preview-{number}" for number in range(1, 65)] == [
        name for name in rows if name.startswith("Web preview-")
    ]
    [mail] = checks.check_mail(config)
    assert f"{last.mail_port} (preview-64)" in mail.observed
    routes = {one.subject for one in checks.check_routes(config)}
    assert any("preview64." in name for name in routes)
