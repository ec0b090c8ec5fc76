"""Settings of gunicorn for the control API: on loopback only; a proxy is in front of it."""

import sys

from host import config as configuration
from host import loopback
from host.errors import Refused
from host.settings_rules import require_secrets
from web.server import reloading, worker_watch

try:
    CONFIG = configuration.load()
    # Here, before any worker is forked, each of which would log a traceback for it.
    require_secrets(CONFIG.environ)
except Refused as refused:
    sys.exit(refused.detail)

# Seconds for which a thread keeps the interpreter: by default 5 ms, which a health check would wait
# for several times while other requests are computed.
sys.setswitchinterval(0.0005)

wsgi_app = "oroboros.wsgi:application"
bind = [f"{loopback.format_host(one)}:{CONFIG.api_port}" for one in loopback.list_loopbacks()]
# No slow client holds a thread: docs/decisions/0020.
worker_class = "web.server.worker.BufferingWorker"
workers = 2
# Whole requests need few threads; with more, each waits longer for the interpreter's lock.
threads = 4
# In each worker; then the connection that has waited longest makes place. Below the 1024 files that
# a process may open by default.
worker_connections = 512
timeout = 60
graceful_timeout = 10
# The workers share the memory of the master. A reload (HUP) executes the master anew.
preload_app = True
when_ready = reloading.take_over
# gunicorn touches a file for each heartbeat: in memory, because a full disk must not stop it.
worker_tmp_dir = "/dev/shm"  # noqa: S108 — gunicorn unlinks its files at once
# X-Forwarded-* counts from this host only; who the caller is, the socket's owner decides.
forwarded_allow_ips = "127.0.0.1,::1"
# By default SCRIPT_NAME and PATH_INFO are believed from this host, so that any process of it could
# have an address resolved as another than the one that was checked.
forwarder_headers = ""
# Written by the loop, not by a thread that a slow reader would hold.
sendfile = False
control_socket_disable = True
accesslog = None
errorlog = "-"


def post_worker_init(worker: object) -> None:
    """Have each process of the API watch the worker."""
    worker_watch.start_watch(CONFIG)
