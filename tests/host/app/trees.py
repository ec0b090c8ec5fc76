"""Trees of applications."""

import json


def write_tree(root, files):
    """Write the files, by path, below `root`; what is no text becomes JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
