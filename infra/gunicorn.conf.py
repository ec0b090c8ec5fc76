"""How gunicorn serves the control API: on loopback only, whoever is in front."""

from host import config as configuration

CONFIG = configuration.load()

wsgi_app = "oroboros.wsgi:application"
bind = f"127.0.0.1:{CONFIG.api_port}"
worker_class = "gthread"
workers = 2
threads = 8
timeout = 60
graceful_timeout = 10
# Every worker begins with a connection of its own, and a reload takes new code.
preload_app = False
# Heartbeats are written to memory, not to a disk that may be full.
worker_tmp_dir = "/dev/shm"  # noqa: S108 — the files are unlinked at once
# Nobody else decides what a request came through: identity looks at the socket.
forwarded_allow_ips = "127.0.0.1"
control_socket_disable = True
accesslog = None
errorlog = "-"
