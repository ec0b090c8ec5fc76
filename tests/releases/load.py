"""Clients that keep their connections and ask 100 times a second, until stdin is closed.

python -m tests.releases.load <port> <rate>     prints one JSON object: what was seen
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
    """One browser: page, API, asset of the page, over one connection."""

    def __init__(self, port, pause, stop):
        super().__init__(daemon=True)
        self.port, self.pause, self.stop = port, pause, stop
        self.answers, self.failures, self.seen = 0, [], Counter()
        self.slowest = 0.0

    def run(self):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        due, version = time.monotonic(), None
        while not self.stop.is_set():
            for kind in ("page", "api", "asset"):
                due += self.pause
                time.sleep(max(0.0, due - time.monotonic()))
                version = self.ask(link, kind, version) or version

    def ask(self, link, kind, version):
        path = {"page": "/", "api": "/api/version", "asset": f"/app-{version}.js"}[kind]
        begun = time.monotonic()
        try:
            link.request("GET", path)
            answer = link.getresponse()
            body = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            link.close()
            self.failures.append(f"{path}: {error!r}")
            return None
        self.answers += 1
        self.slowest = max(self.slowest, time.monotonic() - begun)
        if answer.status != 200:
            self.failures.append(f"{path}: {answer.status}")
            return None
        commit = answer.headers.get("X-Oroboros-Commit")
        if kind == "page":
            found = TITLE.search(body)
            self.seen[commit, found[1]] += 1
            return found[1]
        if kind == "api":
            said = json.loads(body)
            self.seen[commit, said["version"]] += 1
            if said["commit"] != commit:
                self.failures.append(f"torn: header {commit}, body {said}")
        elif body != f"/* {version} */":
            self.failures.append(f"{path}: another content")
        return None


def main(port, rate):
    stop = threading.Event()
    clients = [Client(port, CLIENTS / rate, stop) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    begun = time.monotonic()
    sys.stdin.read()
    stop.set()
    for client in clients:
        client.join()
    seen = sum((client.seen for client in clients), Counter())
    answers = sum(client.answers for client in clients)
    found = {
        "answers": answers,
        "per_second": answers / (time.monotonic() - begun),
        "slowest": max(client.slowest for client in clients),
        "failures": [text for client in clients for text in client.failures],
        "pairs": sorted([*pair] for pair in seen),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
