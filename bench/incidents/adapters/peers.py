"""Linters of training logs as tools of the bench: `python peers.py losslint|trainspotter|trainproof CASE`.

    pip install losslint==0.4.1 trainspotter==0.2.6 trainproof==0.22.0

An error is an alarm; a warning is none, as their own exit codes have it. They name a step in a finding's own words, where they do.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

COMMANDS = {
    "losslint": ["losslint.cli", "check", "{}", "--format", "json"],
    "trainspotter": ["trainspotter.cli", "analyze", "{}", "--output", "json"],
    "trainproof": ["trainproof", "epoch", "{}", "--json"],
}
SEVERITY = {"FAIL": "error", "WARN": "warning"}


def findings(document):
    """Severity and text of every finding; of trainproof the verdict of each report."""
    found = [(str(one.get("severity", "")).lower(), json.dumps(one)) for one in document.get("findings", [])]
    reports = [document] if "verdict" in document else document.get("reports", [])
    return found + [(SEVERITY.get(str(one.get("verdict", "")).upper(), ""), json.dumps(one)) for one in reports]


tool, folder = sys.argv[1:3]
log = next(p for p in (Path(folder, "metrics.jsonl"), Path(folder, "train.log")) if p.exists())
words = [word.format(log) for word in COMMANDS[tool]]
done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=100)
errors = [text for severity, text in findings(json.loads(done.stdout)) if severity == "error"]
answer = {"protocol": 1, "alarm": bool(errors), "class": "diverged" if errors else "healthy", "onset": None}
if errors:
    if re.search(r"\bnan\b|non-?finite|\binf\b", errors[0], re.I):
        answer["class"] = "non-finite"
    step = re.search(r'step\D{0,8}(\d+)', errors[0], re.I)
    answer["onset"] = int(step.group(1)) if step else None
print(json.dumps(answer))
