"""Visitors of production and of the previews, who know what each commit answers."""

import threading
import time
from collections import Counter

import requests

INTERVAL = 0.1


class Prober(threading.Thread):
    """Asks one surface for its health until it is stopped.

    The application answers with its own commit, and the surface names one in a header: they must
    be equal. The application of `silent` commits does not name its own.
    """

    def __init__(self, report, name, port, silent):
        super().__init__(name=f"prober of {name}", daemon=True)
        self.report, self.label, self.silent = report, name, silent
        self.url = f"http://127.0.0.1:{port}/api/health"
        self.stopped = threading.Event()
        self.answers = Counter()
        self.commits = set()
        self.served = set()  # pairs of a run's id, or None, and its commit
        self.longest_outage = 0.0
        self.well_at = time.monotonic()

    def run(self):
        while not self.stopped.wait(INTERVAL):
            self.ask()

    def ask(self):
        try:
            answer = requests.get(self.url, timeout=10)
        except requests.RequestException as error:
            self.answers[type(error).__name__] += 1
            return self._note_outage()
        self.answers[answer.status_code] += 1
        if answer.status_code != 200:
            return self._note_outage()
        self.well_at = time.monotonic()
        return self._compare(answer)

    def _note_outage(self):
        self.longest_outage = max(self.longest_outage, time.monotonic() - self.well_at)

    def _compare(self, answer):
        header, body = answer.headers.get("X-Oroboros-Commit"), answer.json()
        if body.get("status") == "idle":
            if self.label == "production" or header is not None:
                self.report.fault(f"{self.label}: the idle page answered for {header}")
            return
        if body.get("commit") != (None if header in self.silent else header):
            self.report.fault(f"{self.label}: header {header}, answer of {body.get('commit')}")
        self.commits.add(header)
        self.served.add((answer.headers.get("X-Oroboros-Run"), header))

    def stop(self):
        """Stop, and return the numbers for the report."""
        self.stopped.set()
        self.join(20)
        return {
            "answers": {str(key): count for key, count in self.answers.items()},
            "commits": len(self.commits),
            "longest outage": round(self.longest_outage, 1),
        }
