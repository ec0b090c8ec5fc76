"""People of every role at the whole stack, in a real browser: from a new person to a revert.

Each test uses the state that the tests before it left, so they run in the order of the file.
"""

import re

import psycopg
import pytest
import requests
from playwright.sync_api import expect, sync_playwright

from ops import stack
from tests.chromium import launch_chromium
from tests.system.browser_session import BrowserSession
from tests.system.host import Host, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.full]

PEOPLE = {"vera": "viewer", "pat": "approver", "olga": "operator"}
PASSWORD = "only-for-these-journeys"
REASON = "Reactions are counted twice"
SECONDS = 300  # a busy host takes its time to prepare or to ship a run
RUN_PAGE = re.compile(r"/admin/runs/run/[0-9a-f-]{36}/change/$")
# What is written by itself: sessions, the queue, heartbeats, and the audit trail of requests.
RESTLESS_TABLES = re.compile(
    r"django_(session|q_\w+)|usersessions_\w+|runs_heartbeat|accounts_auditentry"
)
ATTEMPTS = 3
RESTLESS_COLUMNS = ["heartbeat_at", "last_seen_at", "last_used_at"]
# What an operator's buttons may say of a run; none of it is offered to a viewer.
BUTTONS = re.compile("^(Approve|Check now|Reject|Keep|Cancel|Release slot|Force release)$")


@pytest.fixture(scope="module")
def host():
    """A stack of the example, whose first branch waits for its review."""
    host = Host("oroboros-journeys-")
    try:
        host.script("quickstart", seconds=600)
        yield host
    finally:
        host.close()


@pytest.fixture(scope="module")
def sessions():
    """The browsers of the people who have logged in."""
    return {}


@pytest.fixture(scope="module")
def log_in(host, sessions):
    """Return a function that returns a person's browser, and logs them in at the first call."""
    expect.set_options(timeout=SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)

        def get(name, password=PASSWORD):
            if name not in sessions:
                sessions[name] = BrowserSession(browser, host.config, name, password)
            return sessions[name]

        yield get
        browser.close()


@pytest.fixture(autouse=True)
def no_problems(sessions):
    """Fail a test in which a console had an error, a request failed or had no CSRF token."""
    yield
    assert {name: one.problems for name, one in sessions.items() if one.problems} == {}


def read_rows(host):
    """Return the rows of every table of the control plane, without what changes by itself."""
    with psycopg.connect(stack.get_cluster(host.config).url("oroboros")) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        ).fetchall()
        rows = "SELECT (to_jsonb(one) - %s::text[])::text FROM {} AS one ORDER BY 1"
        return {
            table: connection.execute(rows.format(table), [RESTLESS_COLUMNS]).fetchall()
            for (table,) in tables
            if not RESTLESS_TABLES.fullmatch(table)
        }


def open_run(host, session, branch):
    """Open the page of the newest run of the branch; return the run."""
    run = host.api(f"/api/runs?branch={branch}").json()["results"][0]
    session.open(f"/admin/runs/run/{run['id']}/change/")
    return run


def see_status(session, text):
    """Wait until the open page shows the status; it is not loaded again by the test."""
    chip = session.page.locator(".oro-status .oro-chip")
    expect(chip).to_have_text(text, ignore_case=True)


def start_run(session, branch):
    """Create a run of the branch and watch it until its preview is ready."""
    session.open("/admin/")
    session.click("New run")
    session.page.get_by_label("Branch", exact=True).fill(branch)
    session.click("New run")
    expect(session.page).to_have_url(RUN_PAGE)
    see_status(session, "Preview ready")
    return session.page.url


def list_acts(host, session):
    """Return what the journal and the audit trail have of the person."""
    acts = (
        "SELECT at, kind, text FROM runs_event WHERE actor = %(name)s UNION ALL "
        "SELECT at, kind, detail FROM accounts_auditentry WHERE actor = %(name)s ORDER BY 1, 2, 3"
    )
    with psycopg.connect(stack.get_cluster(host.config).url("oroboros")) as connection:
        return connection.execute(acts, {"name": session.name}).fetchall()


def confirm(host, session, link, button="", **fields):
    """Follow a link of the open page, which changes nothing yet, and confirm on the next page."""
    before = list_acts(host, session)
    session.click(link)
    for name, value in fields.items():
        session.page.locator(f"[name={name}]").fill(value)
    assert list_acts(host, session) == before
    session.click(button or link)
    wait_for(lambda: list_acts(host, session) != before, why=f"{link} was not recorded")


def test_an_admin_makes_a_person_of_each_role(host, log_in):
    output = host.manage("setup_people", "--reset")
    admin = log_in("admin", output.rpartition("password ")[2].split()[0])
    for name, role in PEOPLE.items():
        admin.open("/admin/auth/user/add/")
        admin.page.locator("[name=username]").fill(name)
        admin.page.get_by_label(role.capitalize(), exact=True).check()
        admin.page.locator("[name=password1]").fill(PASSWORD)
        admin.page.locator("[name=password2]").fill(PASSWORD)
        admin.page.get_by_role("button", name="Save", exact=True).click()
        expect(admin.page.get_by_text("was added successfully")).to_be_visible()
    for name in PEOPLE:
        expect(log_in(name).page.get_by_role("heading", name="Needs you")).to_be_visible()


def test_a_viewer_sees_a_ready_run_and_is_offered_nothing(host, log_in):
    vera = log_in("vera")
    open_run(host, vera, "feature/reactions")
    see_status(vera, "Preview ready")
    expect(vera.page.locator("[data-preview-check]")).to_contain_text("the link shows this run")
    expect(vera.page.locator("main").get_by_role("link", name=BUTTONS)).to_have_count(0)


def test_an_approver_approves_and_watches_it_ship(host, log_in):
    pat = log_in("pat")
    run = open_run(host, pat, "feature/reactions")
    expect(pat.page.get_by_label("Before approval")).to_contain_text("clean")
    expect(pat.page.get_by_label("Before approval")).to_contain_text("+1 column")
    confirm(host, pat, "Approve")
    expect(pat.page.get_by_text("You approved")).to_be_visible()
    pat.page.evaluate("window.isTheSamePage = true")
    see_status(pat, "Merged")
    assert pat.page.evaluate("window.isTheSamePage"), "the page was loaded again"
    shown = host.get(host.config.web_port, "/").headers["X-Oroboros-Commit"]
    assert shown == host.run(run["id"])["candidate_sha"]


def test_a_conflict_is_seen_before_the_approval_and_the_run_is_rejected(host, log_in):
    pat = log_in("pat")
    address = start_run(pat, "feature/conflict")
    facts = pat.page.get_by_label("Before approval")
    expect(facts).to_contain_text("conflicts in frontend/src/index.html")
    pat.click("Approve")
    expect(pat.page.get_by_label("Before approval")).to_contain_text("conflicts in")
    pat.open(address)
    confirm(host, pat, "Reject", reason="It changes the same line")
    see_status(pat, "Rejected")
    assert host.api("/api/runs?branch=feature/conflict").json()["results"][0]["ended_at"]


def test_a_run_is_kept_its_slot_is_released_by_force_and_another_is_canceled(host, log_in):
    pat, olga = log_in("pat"), log_in("olga")
    address = start_run(pat, "feature/failing-check")
    pat.click("Keep")
    pat.page.get_by_label("Keep for").select_option("24")
    pat.click("Keep")
    expect(pat.page.get_by_text("The preview was kept")).to_be_visible()
    olga.open(address)
    confirm(host, olga, "Force release", reason="The slot is needed")
    see_status(olga, "Canceled")
    see_status(pat, "Canceled")
    pat.click("Retry")
    pat.click("Retry")
    see_status(pat, "Preview ready")
    confirm(host, pat, "Cancel", reason="No longer needed")
    see_status(pat, "Canceled")


def test_an_operator_drains_a_slot_and_freezes_shipping(host, log_in):
    olga, vera = log_in("olga"), log_in("vera")
    wait_for(lambda: all(slot["state"] == "free" for slot in host.api("/api/slots").json()))
    vera.open("/admin/")
    olga.open("/admin/slots/slot/")
    olga.page.locator("#result_list").get_by_role("link", name="preview-2").click()
    confirm(host, olga, "Drain", reason="A new kernel")
    expect(vera.page.locator("[data-part=slots]")).to_contain_text("A new kernel")
    assert host.slot(2)["state"] == "drained"
    confirm(host, olga, "Undrain")
    expect(vera.page.locator("[data-part=slots]")).not_to_contain_text("A new kernel")
    olga.open("/admin/")
    confirm(host, olga, "Freeze shipping", reason="The accounts of March")
    expect(vera.page.locator("[data-part=freezes]")).to_contain_text("The accounts of March")
    confirm(host, olga, "Unfreeze shipping", reason="They are closed")
    expect(vera.page.locator("[data-part=freezes]")).not_to_contain_text("The accounts of March")


def test_an_operator_rolls_back_and_everyone_sees_it(host, log_in):
    olga, vera = log_in("olga"), log_in("vera")
    previous = host.api("/api/releases").json()["results"][1]
    vera.open("/admin/")
    olga.open("/admin/")
    link = f"Roll back to {previous['release_id']}"
    confirm(host, olga, link, "Roll back to this", reason=REASON)
    expect(olga.page.locator("main .oro-chip").first).to_have_text("Succeeded", ignore_case=True)
    commit = host.get(host.config.web_port, "/").headers["X-Oroboros-Commit"]
    assert commit == previous["commit_sha"]
    note = vera.page.locator("[data-part=freezes]")
    for text in ("Production was rolled back", "by olga", REASON, "Shipping is frozen"):
        expect(note).to_contain_text(text)
    expect(note).to_contain_text(re.compile(r"\d commits? of main"))
    expect(vera.page.get_by_role("link", name="Ship on")).to_have_count(0)


def test_no_page_changes_anything_by_get_and_no_form_works_without_its_token(host, log_in):
    """With a rolled-back production and a ready run nearly every action is offered."""
    start_run(log_in("pat"), "feature/failing-check")
    for name in (*PEOPLE, "admin"):
        session = log_in(name)
        statuses = assert_no_change(host, session.list_links)
        assert {link: code for link, code in statuses.items() if code != 200} == {}, name
        assert len(statuses) > 40, name
        answers = assert_no_change(host, session.post_without_token, statuses)
        assert set(answers.values()) == {403}, name


def assert_no_change(host, act, *arguments):
    """Return the result of `act`, which changes no row; the worker may change some beside it."""
    for _ in range(ATTEMPTS):
        before = read_rows(host)
        result = act(*arguments)
        if read_rows(host) == before:
            return result
    return pytest.fail(f"rows changed each of {ATTEMPTS} times")


def test_an_approver_reverts_and_production_is_no_longer_behind(host, log_in):
    pat, olga = log_in("pat"), log_in("olga")
    pat.open("/admin/")
    confirm(host, pat, "Revert on the target branch")
    expect(pat.page).to_have_url(RUN_PAGE)
    see_status(pat, "Preview ready")
    confirm(host, pat, "Approve")
    see_status(pat, "Merged")
    olga.open("/admin/")
    expect(olga.page.locator("[data-part=freezes]")).to_have_text("")
    page = requests.get(f"http://127.0.0.1:{host.config.web_port}/", timeout=60)
    assert 'class="react"' not in page.text
