"""What a soak did and found: printed line by line, and written as JSON."""

import json
import sys
import threading
import time
from collections import Counter


class Report:
    """The log of the actions, the counts and the faults of one soak."""

    def __init__(self, seed, path):
        self.seed, self.path = seed, path
        self.started = time.monotonic()
        self.lines, self.faults, self.numbers = [], [], {}
        self.counts = Counter()
        self.lock = threading.Lock()

    def log(self, kind, text):
        """Record and print one action."""
        line = f"{time.monotonic() - self.started:8.2f}  {kind:<10} {text}"
        with self.lock:
            self.counts[kind] += 1
            self.lines.append(line)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def fault(self, text):
        """Record a broken invariant, each text once."""
        with self.lock:
            if text in self.faults:
                return
            self.faults.append(text)
        self.log("FAULT", text)

    def as_text(self):
        lines = [f"seed {self.seed}: {len(self.faults)} faults", *self.faults]
        lines += [f"{name}: {value}" for name, value in sorted(self.numbers.items())]
        lines.append(", ".join(f"{kind} {count}" for kind, count in sorted(self.counts.items())))
        return "\n".join(lines)

    def write(self):
        """Write the report, also in the middle of a soak that may yet fail."""
        data = {
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.started, 1),
            "faults": self.faults,
            "counts": self.counts,
            "numbers": self.numbers,
            "log": self.lines,
        }
        self.path.write_text(json.dumps(data, indent=1) + "\n")
