#!/usr/bin/env bash
# The verdict of a job when it has ended: EpilogSlurmctld or, for one job, at the end of its script (`trap 'slurm-epilog.sh' EXIT`).
# RUN_DIR is the folder of its logs (default: the working folder of the job). Writes verdict.txt there and leaves the state of the job
# alone. An epilog gets the environment of slurmctld: npx has to be on its PATH, and the folder writable for its user.
set -uo pipefail
folder=${RUN_DIR:-${SLURM_JOB_WORK_DIR:-${SLURM_SUBMIT_DIR:-.}}}
npx clippy-diag analyze "$folder" --brief >"$folder/verdict.txt" 2>&1
code=$?
# 0: judged; 4: nothing to judge. An epilog that fails would drain the node.
echo "clippy-diag: job ${SLURM_JOB_ID:-?}, exit code $code: $(head -n 1 "$folder/verdict.txt")"
exit 0
