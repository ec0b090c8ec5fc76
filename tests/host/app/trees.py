"""Trees of applications."""

import json


def write_tree(root, files):
    """Write the files, by path, below `root`; what is neither text nor bytes becomes JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, bytes | str) else json.dumps(content)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
