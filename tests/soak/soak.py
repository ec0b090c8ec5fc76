"""One soak: set up a stack, act and kill at random for a time, then compare all that is left."""

import random
import threading
import time
from collections import Counter
from contextlib import suppress

import requests

from host.deadline import wait_until
from host.files import ownership
from tests.soak.actions import Actor
from tests.soak.chaos import kill_one
from tests.soak.invariants import SETTLE_SECONDS, Watch
from tests.soak.probes import Prober
from tests.soak.report import Report
from tests.system.host import Host

CHECK_SECONDS = 10.0
KILL_SECONDS = 12.0
PAUSE_SECONDS = (0.2, 2.0)
# A kill of what serves is noticed within seconds; a machine with few processors needs longer.
LONGEST_OUTAGE_SECONDS = 30.0


def run_soak(seed, seconds, path):
    """Soak a new stack for `seconds`, and return the report, which is written to `path` too."""
    report, host = Report(seed, path), Host()
    try:
        host.script("quickstart", "--ship", seconds=900)
        report.log("setup", f"seed {seed}, port offset {host.environ['OROBOROS_PORT_OFFSET']}")
        actor = Actor(host, random.Random(seed), report)
        actor.prepare()
        _soak(host, actor, random.Random(seed + 1), report, seconds)
    finally:
        report.write()
        host.close()
        ownership.delete_tree(host.home.parent / f"{host.home.name}-clone")
    return report


def _soak(host, actor, rng, report, seconds):
    watch, config = Watch(host, actor, report), host.config
    report.numbers["processes at the start"] = before = watch.measure()
    ports = {"production": config.web_port}
    ports |= {slot.slot_id: slot.web_port for slot in config.slots}
    probers = [Prober(report, name, port, actor.silent) for name, port in ports.items()]
    for prober in probers:
        prober.start()
    stopped = threading.Event()
    thread = threading.Thread(target=_kill, args=(host, rng, report, stopped), daemon=True)
    thread.start()
    try:
        _act(actor, watch, time.monotonic() + seconds)
    finally:
        stopped.set()
        thread.join(300)
    _settle(host, actor, watch, report)
    for prober in probers:
        report.numbers[f"probes of {prober.label}"] = prober.stop()
    if probers[0].longest_outage > LONGEST_OUTAGE_SECONDS:
        report.fault(f"production did not answer for {probers[0].longest_outage:.0f} s")
    watch.check_end(probers)
    report.numbers["processes at the end"] = after = watch.measure()
    watch.check_growth(before, after)


def _act(actor, watch, until):
    due = 0.0
    while time.monotonic() < until:
        actor.act()
        if time.monotonic() > due:
            with suppress(requests.RequestException):
                watch.check()
            due = time.monotonic() + CHECK_SECONDS
        time.sleep(actor.rng.uniform(*PAUSE_SECONDS))


def _kill(host, rng, report, stopped):
    """Kill a process every few seconds; the stack is to start it again by itself."""
    while not stopped.wait(rng.uniform(0.5, 1.5) * KILL_SECONDS):
        report.log("kill", kill_one(host, rng))


def _settle(host, actor, watch, report):
    """Start what was killed, end what is under way, and wait until nothing is."""
    host.script("runtime-up", seconds=300)
    for run in actor.list_runs("queued", "preparing", "preview_ready", "approved", "holding"):
        host.api(f"/api/runs/{run['id']}/cancel", {"reason": "the soak is over"})
    started = time.monotonic()
    if not wait_until(lambda: not watch.list_unsettled(), seconds=SETTLE_SECONDS, interval=1.0):
        report.fault(f"not settled after {SETTLE_SECONDS} s: {watch.list_unsettled()}")
    report.numbers["seconds to settle"] = round(time.monotonic() - started, 1)
    watch.check()
    report.numbers["merged runs"] = len(watch.merged)
    ends = Counter(
        f"{run['status']} {run['failure_code'] or ''}".strip() for run in actor.list_runs()
    )
    report.numbers["ends of runs"] = dict(ends)
    report.numbers["acknowledged rows"] = len(actor.signed)
    first = host.manage("reconcile")
    second = host.manage("reconcile", "--dry-run")
    report.log("reconcile", f"{first.strip()[:300]} / {second.strip()[:300]}")
