"""Clients with persistent connections that send requests until stdin is closed.

    python -m tests.releases.load_clients <port> <rate>

For each line on stdin it prints the number of responses so far, and at the end a JSON object of the
results.
"""

import http.client
import json
import re
import sys
import threading
import time
from collections import Counter

CLIENTS = 10
TITLE = re.compile(r"<title>(.*)</title>")


class Client(threading.Thread):
    """A browser with one connection: it requests the page, the API and the page's asset."""

    def __init__(self, port, pause, stop):
        super().__init__(daemon=True)
        self.port, self.pause, self.stop = port, pause, stop
        self.answers, self.failures, self.seen, self.missing = 0, [], Counter(), Counter()
        self.slowest = 0.0

    def run(self):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        due, version = time.monotonic(), None
        while not self.stop.is_set():
            for kind in ("page", "api", "asset"):
                due += self.pause
                time.sleep(max(0.0, due - time.monotonic()))
                version = self.send(link, kind, version) or version

    def send(self, link, kind, version):
        path = {"page": "/", "api": "/api/version", "asset": f"/app-{version}.js"}[kind]
        started = time.monotonic()
        try:
            link.request("GET", path)
            answer = link.getresponse()
            body = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            link.close()
            self.failures.append(f"{path}: {error!r}")
            return None
        self.answers += 1
        self.slowest = max(self.slowest, time.monotonic() - started)
        commit = answer.headers.get("X-Oroboros-Commit")
        if answer.status == 404 and kind == "asset":
            self.missing[commit, version] += 1
            return None
        if answer.status != 200:
            self.failures.append(f"{path}: {answer.status}")
            return None
        if kind == "page":
            found = TITLE.search(body)
            self.seen[commit, found[1]] += 1
            return found[1]
        if kind == "api":
            answer_body = json.loads(body)
            self.seen[commit, answer_body["version"]] += 1
            if answer_body["commit"] != commit:
                self.failures.append(f"two releases: header {commit}, body {answer_body}")
        elif body != f"/* {version} */":
            self.failures.append(f"{path}: unexpected content")
        return None


def main(port, rate):
    stop = threading.Event()
    clients = [Client(port, CLIENTS / rate, stop) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    started = time.monotonic()
    for _ in sys.stdin:
        sys.stdout.write(f"{sum(client.answers for client in clients)}\n")
        sys.stdout.flush()
    stop.set()
    for client in clients:
        client.join()
    seen = sum((client.seen for client in clients), Counter())
    missing = sum((client.missing for client in clients), Counter())
    answers = sum(client.answers for client in clients)
    found = {
        "answers": answers,
        "per_second": answers / (time.monotonic() - started),
        "slowest": max(client.slowest for client in clients),
        "failures": [text for client in clients for text in client.failures],
        "pairs": sorted([*pair] for pair in seen),
        "missing": sorted([*pair] for pair in missing),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
