"""The doctor's checks of the files that settings name."""

from dataclasses import replace

import pytest

from host import config as configuration
from ops.doctor import secret_files


@pytest.mark.parametrize("name", ["GIT_SSH_KEY_FILE", "SSL_CERT_FILE", "FORGE_TOKEN_FILE"])
def test_a_file_that_the_units_do_not_see_is_a_fault_under_systemd_only(name):
    config = configuration.load({name: "/home/ada/file"})
    [found] = secret_files.check_files(replace(config, is_systemd=True))
    assert (found.subject, found.is_ok) == (name, False)
    assert found.observed == "/home/ada/file is below /home, which the units do not see"
    assert "apply-settings.sh" in found.remedy
    assert "units" not in "".join(one.observed for one in secret_files.check_files(config))
    seen = replace(configuration.load({name: "/etc/oroboros/file"}), is_systemd=True)
    assert "units" not in "".join(one.observed for one in secret_files.check_files(seen))
