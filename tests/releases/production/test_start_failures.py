"""What an application printed is matched with what differs in production."""

import pytest

from releases.production.start_failures import Facts, find_differences

FACTS = Facts(
    tree="/srv/var/releases/r-1/app",
    folder="/srv/var/releases/r-1/app/backend",
    home="/srv/var/app-gates/1",
    port=8092,
    preview_ports=[8101, 8102, 8103],
    preview_folder="/srv/var/slots",
    preview_only={"STRIPE_KEY": "set it in app.env", "OROBOROS_SLOT": "use it only if it is set"},
    names=["PORT", "DATABASE_URL", "HOME"],
)
DENIED = "PermissionError: [Errno 13] Permission denied: "
CASES = [
    # the tree
    (f"{DENIED}'server.pid'", "writes backend/server.pid in its own tree"),
    (f"{DENIED}'/srv/var/releases/r-1/app/log/a.log'", "writes log/a.log in its own tree"),
    ("OSError: [Errno 30] Read-only file system: 'cache'", "writes backend/cache in its own"),
    ("Error: EACCES: permission denied, mkdir '/srv/var/releases/r-1/app/.next/cache'",
     "writes .next/cache in its own tree"),
    ("Error: EROFS: read-only file system, open '/srv/var/releases/r-1/app/x'", "writes x in"),
    ("Permission denied @ rb_sysopen - tmp/pids/server.pid (Errno::EACCES)",
     "writes backend/tmp/pids/server.pid in its own tree"),
    ("panic: open data.db: permission denied", "writes backend/data.db in its own tree"),
    ("sh: 1: cannot create run.pid: Permission denied", "writes backend/run.pid in its own tree"),
    ("touch: cannot touch 'x.lock': Permission denied", "writes backend/x.lock in its own tree"),
    ("PHP Warning: fopen(/srv/var/releases/r-1/app/a): Failed to open stream: Permission denied",
     "writes a in its own tree"),
    ("PermissionError: [Errno 13] Permission denied", "below HOME (/srv/var/app-gates/1)"),
    # other folders
    (f"{DENIED}'/tmp/app.pid'", "uses /tmp/app.pid, which a process of another user has made"),
    ("FileExistsError: [Errno 17] File exists: '/dev/shm/lock'", "uses /dev/shm/lock, which a"),
    (f"{DENIED}'/etc/app/key.pem'", "not permitted to use /etc/app/key.pem"),
    (f"{DENIED}'/srv/var/app-gates/1/d/x'", "although it is below HOME: another user owns it"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/srv/var/slots/preview-1/home/a'",
     "uses /srv/var/slots/preview-1/home/a, which only previews have"),
    ("FileNotFoundError: [Errno 2] No such file or directory: 'index.bin'",
     "does not find backend/index.bin in its tree"),
    ("Error: connect ENOENT /run/redis/redis.sock", "connects to /run/redis/redis.sock"),
    # SQLite
    ("django.db.utils.OperationalError: attempt to write a readonly database", "an SQLite file"),
    ("sqlite3.OperationalError: unable to open database file", "an SQLite file"),
    # variables
    ("KeyError: 'STRIPE_KEY'", "the variable STRIPE_KEY, which previews have"),
    ("Error: STRIPE_KEY is required", "production has not: set it in app.env"),
    ("KeyError: 'OROBOROS_SLOT'", "use it only if it is set"),
    ("KeyError: 'SENTRY_DSN'", "the variable SENTRY_DSN, which production has not"),
    ("ImproperlyConfigured: Set the SECRET_KEY environment variable", "variable SECRET_KEY"),
    ("decouple.UndefinedValueError: API_URL not found. Declare it as envvar", "variable API_URL"),
    ("./start.sh: line 2: API_TOKEN: parameter not set", "the variable API_TOKEN"),
    # ports
    ("OSError: [Errno 98] Address already in use: ('127.0.0.1', 8101)", "uses port 8101, which"),
    ("Error: listen EADDRINUSE: address already in use :::3000", "binds a port that is in use"),
    # limits
    ("OSError: [Errno 24] Too many open files", "raise LimitNOFILE"),
    ("ValueError: not allowed to raise maximum limit", "raise LimitNOFILE"),
    ("r.setrlimit(r.RLIMIT_NPROC, (9, 9))\nValueError: not allowed to raise maximum limit",
     "raises the limit NPROC above production's: raise LimitNPROC"),
    ("./web: line 2: ulimit: open files: cannot modify limit: Operation not permitted",
     "raises the limit NOFILE above"),
    ("./web: line 2: ulimit: max locked memory: cannot modify limit: Operation not permitted",
     "raise LimitMEMLOCK"),
    ("RuntimeError: can't start new thread", "raise TasksMax"),
    ("os.fork()\nBlockingIOError: [Errno 11] Resource temporarily unavailable", "raise TasksMax"),
    ("fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
     "BlockingIOError: [Errno 11] Resource temporarily unavailable", "a lock that another process"),
    ("FATAL ERROR: JavaScript heap out of memory", "raise MemoryMax"),
    # services and the network
    ("redis.exceptions.ConnectionError: Error 111 connecting to localhost:6379. Connection refused",
     "Its connection to localhost:6379 was refused"),
    ("Error: connect ECONNREFUSED 127.0.0.1:5672", "Its connection to 127.0.0.1:5672 was refused"),
    ("dial tcp 127.0.0.1:9200: connect: connection refused", "connection to 127.0.0.1:9200 was"),
    ("ConnectionRefusedError: [Errno 111] Connection refused", "Its connection was refused"),
    ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "needs the network"),
    ("Error: getaddrinfo ENOTFOUND api.example.com", "did not reach it (api.example.com)"),
    ("OSError: [Errno 101] Network is unreachable", "needs the network when it starts"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), CASES)
def test_the_last_lines_name_the_difference(line, sentence):
    found = find_differences(f"Starting\n{line}\n", FACTS)
    assert len(found) == 1
    assert sentence in found[0]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "KeyError: 'PORT'",
        "ValueError: invalid literal for int() with base 10: 'x'",
        "GET /health 200 in 81013 ms",
        "psycopg.errors.InsufficientPrivilege: permission denied for table users",
        "KeyError: 'name'",
    ],
)
def test_other_lines_name_no_difference(line):
    assert find_differences(line, FACTS) == []


def test_a_fork_beyond_the_limit_is_not_taken_for_a_lock():
    refused = "BlockingIOError: [Errno 11] Resource temporarily unavailable"
    between = "line\n" * 8
    far = f"INFO flock of the cache taken\n{between}os.fork()\n{refused}"
    [sentence] = find_differences(far, FACTS)
    assert "raise TasksMax" in sentence
    thread = "fcntl.lockf(f, 6)\nRuntimeError: can't start new thread"
    [sentence] = find_differences(thread, FACTS)
    assert "raise TasksMax" in sentence
    both = f"fcntl.flock(f, 6)\n^^^^^^\n{refused}\n{between}os.fork()\n{refused}"
    first, second = find_differences(both, FACTS)
    assert "a lock that another process" in first
    assert "raise TasksMax" in second
    node = "Error: EAGAIN: resource temporarily unavailable, flock"
    assert "a lock that another process" in find_differences(node, FACTS)[0]


def test_a_long_log_names_at_most_three_differences():
    lines = [f"{DENIED}'file{number}'" for number in range(9)]
    assert len(find_differences("\n".join(lines), FACTS)) == 3


def test_an_error_of_node_names_its_file_once():
    output = f"Error: EACCES: permission denied, open '{FACTS.tree}/a.pid'\n  code: 'EACCES',\n"
    [sentence] = find_differences(output, FACTS)
    assert sentence.startswith("It writes a.pid in its own tree")
