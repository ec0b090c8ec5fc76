"""No page of the admin needs inline scripts or eval: Alpine.js has no expression that needs it."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from tests.factories import RunFactory
from tests.runs.admin.test_accessibility import list_addresses, run  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
# Every expression is parsed behind `false &&`, so without effect; what it names must be a property
# of its components, a magic of Alpine.js, or of the directive. `x-for` and references have no
# expression.
LIST_UNREADABLE = r"""() => {
  const NAME = /(?<![.\w$])[A-Za-z_$][\w$]*(?![\w$]|\s*:)/g;
  const found = [], provided = ["theme", "page", "searchForm", "searchDropdown", "searchCommand"];
  const others = /^x-(for|ref|teleport|cloak|target|transition|on:htmx:)/;
  const known = ["true", "false", "null", "undefined", "$event", "$width", "$el", "$refs"];
  function check(node, owner) {
    for (const child of node.children ?? []) {
      const at = node instanceof DocumentFragment ? owner : child;
      for (const { name, value } of child.attributes) {
        const text = value.trim().replace(/;$/, "");
        if (!name.startsWith("x-") || others.test(name) || !text) continue;
        try {
          if (name !== "x-data") Alpine.evaluate(at, `false && (${text})`);
        } catch (error) { found.push([name, value, String(error)]); }
        const words = text.replace(/'[^']*'/g, "''").matchAll(NAME);
        const loop = child.closest("template") ? ["item", "index"] : [];
        const scope = [...known, ...provided, "$dispatch", ...loop];
        const data = Alpine.$data(at);
        for (const [word] of words) {
          if (!scope.includes(word) && !(word in data)) found.push([name, value, word]);
        }
      }
      check(child, at);
      if (child.content) check(child.content, child);
    }
  }
  check(document, document.documentElement);
  return found;
}"""


def test_the_admin_works_without_eval(open_admin):
    created = RunFactory(title="Reactions")
    page = open_admin()
    page.goto("/admin/runs/run/")
    answer = page.goto("/admin/runs/run/")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    assert page.evaluate(LIST_UNREADABLE) == []
    sidebar = page.locator("#nav-sidebar")
    expect(sidebar).to_be_visible()
    page.locator("[x-on\\:click^='sidebarDesktopOpen']").click()
    expect(sidebar).not_to_be_visible()
    page.reload()
    expect(sidebar).not_to_be_visible()
    page.keyboard.press("Control+k")
    field = page.locator("[x-ref=searchInputCommand]")
    # Results are asked for at keys, half a second apart: one key, so that they come once.
    field.fill("Reaction")
    field.press("s")
    expect(page.locator("#command-results-list")).to_contain_text("Reactions")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/admin/runs/run/{created.pk}/change/")
    assert page.problems == []


@pytest.mark.full
def test_no_page_has_an_expression_that_is_not_read_or_violates_the_policy(open_admin, run):  # noqa: F811
    page = open_admin()
    User.objects.update(is_superuser=True)
    for address in [*list_addresses(run), "/admin/account/", "/admin/auth/user/1/password/"]:
        page.goto(address)
        page.wait_for_load_state("networkidle")
        if page.evaluate("'Alpine' in window"):
            assert (address, page.evaluate(LIST_UNREADABLE)) == (address, [])
    # Some of them answer 404, which is an error of the console too.
    assert [one for one in page.problems if "Failed to load resource" not in one] == []
