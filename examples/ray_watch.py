"""A watcher for trainings of Ray Train and Ray Tune: one on the head node, over the storage path of all trials.

    python ray_watch.py /mnt/results

Start it next to `tune.run`, or as a Ray job. It needs Node.js on that node; a storage path in the cloud is a URL (s3://…, gs://…).
"""

import subprocess
import sys

if __name__ == "__main__":
    storage = sys.argv[1]
    command = ["npx", "clippy-diag", "watch", storage, "--stall", "15m", "--metrics", "clippy-diag.prom"]
    sys.exit(subprocess.call(command))
