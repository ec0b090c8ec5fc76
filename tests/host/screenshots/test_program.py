"""The program that drives Chromium, on one that only answers its commands."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from host.screenshots import pictures
from host.screenshots.__main__ import OUT_OF_TIME
from host.screenshots.pictures import PagePicture
from tests.host.screenshots.test_pictures import SIZE, make_png, page

HOME = Path(__file__).resolve().parents[3]
CHROMIUM = """\
#!PYTHON
import json
import os
import sys

RESULT = {"browserContextId": "c1", "targetId": "t", "sessionId": "s", "loaderId": "ours"}
LOADED = {"name": "load", "loaderId": "ours"}
RESULT["data"] = open("picture").read()
seen = open("seen", "a")
buffer = b""


def send(message):
    data = json.dumps(message).encode() + b"\\0"
    while data:
        data = data[os.write(4, data):]


print("begins", file=seen, flush=True)
while data := os.read(3, 65536):
    *messages, buffer = (buffer + data).split(b"\\0")
    for message in map(json.loads, messages):
        print(json.dumps(message), file=seen, flush=True)
        url = message["params"].get("url", "")
        if url.endswith("/dies"):
            sys.exit("no memory is left")
        refused = {"errorText": "net::ERR_REFUSED"} if url.endswith("/refused") else {}
        send({"id": message["id"], "result": RESULT | refused})
        if message["method"] == "Page.navigate":
            send({"sessionId": "s", "method": "Page.lifecycleEvent", "params": LOADED})
"""


def take(folder, paths, seconds=600):
    """Return the lines of the program, and what its Chromium was told."""
    program = folder / "chromium"
    program.write_text(CHROMIUM.replace("PYTHON", sys.executable))
    program.chmod(0o755)
    (folder / "picture").write_text(page(make_png())["png"])
    (folder / "seen").write_text("")
    one = {"width": SIZE[0], "height": SIZE[1], "is_phone": True, "headers": {}}
    plan = {
        "chromium": str(program),
        "folder": str(folder),
        "host": "a.test:80",
        "address": "127.0.0.1:1",
        "seconds": seconds,
        "pages": [{**one, "url": f"http://a.test{path}"} for path in paths],
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "host.screenshots"],
        input=json.dumps(plan).encode(),
        capture_output=True,
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": str(HOME)},
        check=True,
    )
    return done.stdout, (folder / "seen").read_text().splitlines()


def test_a_browser_that_ends_costs_one_page(tmp_path):
    raw, seen = take(tmp_path, ["/", "/dies", "/refused", "/"])
    first, dead, refused, last = pictures.read_report(io.BytesIO(raw), [SIZE] * 4)
    assert first.png and last.png and not first.error
    assert dead == PagePicture(error="Chromium ended: no memory is left")
    assert refused == PagePicture(error="net::ERR_REFUSED")
    assert seen.count("begins") == 3
    assert not (tmp_path / "profile").exists()


def test_each_page_has_a_context_that_loads_nothing_down(tmp_path):
    _, seen = take(tmp_path, ["/"])
    sent = [json.loads(line) for line in seen[1:]]
    told = [one["params"] for one in sent if one["method"] == "Browser.setDownloadBehavior"]
    assert told == [{"behavior": "deny", "browserContextId": "c1"}]


def test_pages_that_have_no_time_left_have_a_note(tmp_path):
    raw, _ = take(tmp_path, ["/", "/"], seconds=0)
    found = pictures.read_report(io.BytesIO(raw), [SIZE] * 2)
    assert [(one.png, one.error) for one in found] == [(b"", OUT_OF_TIME)] * 2
