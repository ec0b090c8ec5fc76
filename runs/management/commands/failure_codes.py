"""Print what each failure code means, as the page docs/reference/failure-codes.md."""

from django.core.management.base import BaseCommand

from runs.rules import FAILURES

HEAD = """# Failure codes

A run that ends `failed`, `expired` or `canceled` by a release says why with one of these codes, in
`failure_code`; `failure_detail` has this case's own words and `next_action` what to do. This page
is made by `manage.py failure_codes`; a test holds it to the code.

| Code | Cause | What to do |
|---|---|---|
"""


class Command(BaseCommand):
    help = "Print the reference page of failure codes. It changes nothing."

    def handle(self, **options):
        rows = (
            f"| `{code}` | {failure.cause} | {failure.remedy} |"
            for code, failure in FAILURES.items()
        )
        self.stdout.write(HEAD + "\n".join(rows))
