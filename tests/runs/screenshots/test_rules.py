"""When pictures are taken, and how they are described."""

import pytest

from runs.rules import Status
from runs.screenshots.rules import (
    MOVED,
    NO_CHROMIUM,
    NO_USER,
    SWITCHED_OFF,
    SYSTEMD,
    Shot,
    Side,
    describe_pair,
    find_end_reason,
    find_obstacle,
    format_share,
    plan_shots,
    select_known,
)

A, B = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("status", "commit", "generation", "is_stopping", "reason"),
    [
        (Status.PREVIEW_READY, A, 1, False, ""),
        (Status.APPROVED, A, 1, False, ""),
        (Status.PREVIEW_READY, A, 1, True, "The run is being ended."),
        (Status.PREVIEW_READY, B, 1, False, MOVED),
        (Status.PREVIEW_READY, A, 2, False, MOVED),
        (Status.MERGING, A, 1, False, "The run is merging."),
        (Status.EXPIRED, A, 1, False, "The run is expired."),
    ],
)
def test_pictures_are_of_use_while_the_run_shows_that_commit(
    status, commit, generation, is_stopping, reason
):
    found = find_end_reason(status, commit, generation, of=(A, 1), is_stopping=is_stopping)
    assert found == reason


def test_what_a_host_lacks_is_said_with_what_to_do():
    able = {"is_off": False, "is_systemd": False, "has_chromium": True, "has_user": True}
    unable = {name: not value for name, value in able.items()}
    assert find_obstacle(**able) == ""
    assert find_obstacle(**unable) == SWITCHED_OFF
    assert find_obstacle(**{**unable, "is_off": False}) == SYSTEMD
    assert find_obstacle(**{**able, "has_chromium": False}) == NO_CHROMIUM
    assert "apt-get install chromium" in NO_CHROMIUM
    assert find_obstacle(**{**able, "has_user": False}) == NO_USER


def test_each_page_has_a_picture_for_each_device():
    shots = plan_shots(["/", "/about"])
    assert [(shot.path, shot.device, shot.size) for shot in shots] == [
        ("/", "desktop", (1440, 900)),
        ("/", "phone", (390, 844)),
        ("/about", "desktop", (1440, 900)),
        ("/about", "phone", (390, 844)),
    ]
    names = {shot.artifact_name(side) for shot in shots for side in Side}
    assert len(names) == 8 and "screenshot_2_phone_production" in names


def test_production_is_asked_only_for_paths_of_its_own_release():
    shots = plan_shots(["/", "/logout", "/prices"])
    assert {shot.path for shot in select_known(shots, ["/prices", "/old"])} == {"/", "/prices"}
    assert {shot.path for shot in select_known(shots, [])} == {"/"}


def test_a_pair_keeps_status_and_error_of_each_side():
    pair = describe_pair(Shot(1, "/", "phone"), {Side.PREVIEW: (404, "")}, None)
    assert pair == {
        "number": 1, "path": "/", "device": "phone", "changed": None,
        "preview": {"status": 404, "error": ""},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0001, "under 0.1 %"), (0.0345, "3.5 %"), (0.5, "50 %"), (1, "100 %")],
)
def test_a_share_is_zero_only_if_nothing_changed(share, text):
    assert format_share(share) == text
