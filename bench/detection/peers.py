"""What three other linters of training logs say of the logs in a folder: errors, warnings, nothing, or not read.

    pip install losslint==0.4.1 trainspotter==0.2.6 trainproof==0.22.0
    python3 bench/detection/peers.py FOLDER [HOW_MANY]

Takes the first HOW_MANY files by name (all without it). One line of JSON a tool; bench/detection/folder.ts says what clippy-diag says of them.
"""

import collections
import json
import subprocess
import sys
from pathlib import Path


def severities(document):
    """Of every finding; of trainproof the verdict of each report."""
    found = [str(one.get("severity", "")).lower() for one in document.get("findings", [])]
    verdicts = [str(one.get("verdict", "")).upper() for one in document.get("reports", [])]
    return found + [{"FAIL": "error", "WARN": "warning"}.get(verdict, "") for verdict in verdicts]


def ask(command):
    """`error`, `warning`, `nothing`, or `not read` where the tool printed no JSON."""
    try:
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=120)
        document = json.loads(done.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return "not read"
    found = severities(document)
    if not found and document.get("error"):
        return "not read"
    return "error" if "error" in found else "warning" if "warning" in found else "nothing"


TOOLS = {
    "losslint": lambda path: ["losslint.cli", "check", path, "--format", "json"],
    "trainspotter": lambda path: ["trainspotter.cli", "analyze", path, "--output", "json"],
    "trainproof": lambda path: ["trainproof", "epoch", path, "--json"],
}

paths = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.is_file())
paths = paths[: int(sys.argv[2])] if len(sys.argv) > 2 else paths
for tool, command in TOOLS.items():
    counts = collections.Counter(ask(command(str(path))) for path in paths)
    print(json.dumps({"tool": tool, "files": len(paths), **counts}))
