#!/usr/bin/env bash
# A study as a Slurm array: sbatch slurm-array.sh study.yaml, then the line at the end.
#SBATCH --array=1-20
#SBATCH --cpus-per-task=4
#SBATCH --time=02:00:00
set -euo pipefail
study=$1
mkdir -p shards
npx clippy-diag matrix "$study" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
  --workers "$SLURM_CPUS_PER_TASK" \
  --resume "shards/$SLURM_ARRAY_TASK_ID.jsonl" \
  --report "json:shards/$SLURM_ARRAY_TASK_ID.json"
# When all have ended: npx clippy-diag matrix merge shards/*.json --report html:study.html
