"""Incidents of other seeds, shapes and learning rates for estimates.ts: the runs of fixtures/make with the recorder attached.

    python3 estimates_captures.py OUT

Writes eight captures into OUT. Made with Python 3.11.2, PyTorch 1.13.1 (CPU, one thread), numpy 1.24.2.
"""
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures" / "make"))
import record_captures  # noqa: E402
from record_captures import CATEGORICAL, SMALL  # noqa: E402
from stream import Stream, Surge  # noqa: E402
from train_ranking import LIVE_EVENT, TASKS  # noqa: E402

DENSE = ({"shape": SMALL}, {"every": 10})
RUNS = {f"seed-{seed}": ((0.5, Stream(seed=seed, batch_size=64, surge=LIVE_EVENT), TASKS), *DENSE) for seed in (11, 12, 13, 14)}
RUNS |= {
    "slow": ((0.2, Stream(seed=15, batch_size=64, surge=LIVE_EVENT), TASKS), *DENSE),
    "short": ((0.4, Stream(seed=16, batch_size=64, surge=Surge(400, 3, 0.2, 6, 5)), TASKS), *DENSE),
    "mild": ((0.3, Stream(seed=17, batch_size=64, surge=Surge(400, 3, 0.1, 6, 5)), TASKS), *DENSE),
    "rows": (
        (0.5, Stream(seed=18, batch_size=96, surge=LIVE_EVENT, categorical=CATEGORICAL), TASKS),
        {"net": record_captures.torch_net, "shape": SMALL},
        {"every": 10},
    ),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    record_captures.FIXTURES = Path(sys.argv[1])
    record_captures.CAPTURES = {f"made/{name}": run for name, run in RUNS.items()}
    (record_captures.FIXTURES / "made").mkdir(parents=True, exist_ok=True)
    for name in record_captures.CAPTURES:
        record_captures.make(name)
