"""A small application to release: a server without dependencies, a page, migrations by psql."""

import os
import subprocess

from host.postgres import client_programs

SERVER = """
import json, os, pathlib, signal, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).parent
VERSION = (HERE / "version").read_text()
HEALTH = (HERE / "health").read_text()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status = 200
        if self.path == "/health":
            sick = HEALTH == "sick" or (
                HEALTH == "sick after the switch" and pathlib.Path.home().joinpath("sick").exists())
            status = 500 if sick else 200
        if self.path.startswith("/api/slow"):
            time.sleep(float(self.path.partition("?")[2] or 1))
        body = json.dumps({"version": VERSION, "commit": os.environ["OROBOROS_COMMIT"]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *a: threading.Thread(target=server.shutdown).start())
server.serve_forever(0.05)
"""
MANIFEST = """
[backend]
directory = "backend"
[frontend]
directory = "site"
output = "."
"""
BUILT_MANIFEST = """
[backend]
directory = "backend"
[frontend]
directory = "site"
build = "sh build.sh"
output = "dist"
"""
BUILD = """
set -e
mkdir dist
cp index.html dist
for file in ../public/*; do if [ -e "$file" ]; then cp "$file" dist; fi; done
printf '/* %s */' "$(cat ../backend/version)" > "dist/app-$(cat ../backend/version).js"
"""


class Repo:
    """The control plane's bare repository, with commits made for a test."""

    def __init__(self, config):
        self.config = config
        self.path = config.var / "repo.git"
        self.path.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", "--initial-branch=main")
        self.files = {
            "Procfile": "web: python server.py\nrelease: sh migrate.sh\n",
            "oroboros.toml": MANIFEST,
            "backend/server.py": SERVER,
            "backend/health": "well",
            "backend/migrate.sh": (
                f"cat migrations/*.sql | {client_programs.find_pg_dumps()[0].with_name('psql')} "
                "-q -v ON_ERROR_STOP=1\n"
            ),
            "backend/migrations/0001_notes.sql": (
                "CREATE TABLE IF NOT EXISTS note (id serial PRIMARY KEY, text varchar(200));\n"
            ),
        }
        self.head = None
        self.is_built = False

    def build_frontend(self, **public):
        """Have a build make app-<version>.js, and copy these files as they are."""
        self.is_built = True
        self.files |= {"oroboros.toml": BUILT_MANIFEST, "site/build.sh": BUILD}
        self.files |= {f"public/{name}": text for name, text in public.items()}

    def commit(self, version, **changes):
        """Commit the application as `version`; a change of None removes the file."""
        page = f"<!doctype html><title>{version}</title><script src=/app-{version}.js></script>"
        self.files |= {"backend/version": version, "site/index.html": page}
        self.files = {k: v for k, v in self.files.items() if not k.startswith("site/app-")}
        if not self.is_built:
            self.files[f"site/app-{version}.js"] = f"/* {version} */"
        self.files |= changes
        self.files = {name: text for name, text in self.files.items() if text is not None}
        index = self.path / "test-index"
        index.unlink(missing_ok=True)
        env = {"GIT_INDEX_FILE": str(index)}
        for name, text in self.files.items():
            blob = self._git("hash-object", "-w", "--stdin", stdin=text)
            self._git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", env=env)
        tree = self._git("write-tree", env=env)
        parent = ["-p", self.head] if self.head else []
        self.head = self._git("commit-tree", tree, *parent, "-m", f"Version {version}")
        self._git("update-ref", "refs/heads/main", self.head)
        return self.head

    def _git(self, *arguments, env=None, stdin=None):
        names = {"GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@example.com"}
        names |= {"GIT_COMMITTER_NAME": "T", "GIT_COMMITTER_EMAIL": "t@example.com"}
        done = subprocess.run(
            ["git", f"--git-dir={self.path}", *arguments],
            env={"PATH": os.environ["PATH"], **names, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()
