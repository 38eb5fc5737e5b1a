#!/usr/bin/env bash
# The gate in a GitHub job: inputs from INPUT_* (lists have one entry a line), annotations on standard output, the
# job summary, and the exit code as an output of the step.
set -uo pipefail

arguments=()
add() { # FLAG LIST: FLAG before each line of LIST; a line that begins with - cannot become a flag
  local line
  while IFS= read -r line; do
    line="${line#"${line%%[![:space:]]*}"}"
    line="${line%"${line##*[![:space:]]}"}"
    [ -z "$line" ] && continue
    if [ -n "$1" ]; then arguments+=("$1=$line"); else arguments+=("$line"); fi
  done <<<"$2"
}
add --rule "${INPUT_RULES:-}"
add --report "${INPUT_REPORTS:-}"
[ -n "${INPUT_CONFIG:-}" ] && arguments+=("--config=$INPUT_CONFIG")
arguments+=(--report=github:-)
summary=''
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  summary=$(mktemp)
  arguments+=("--report=markdown:$summary")
fi
arguments+=(--)
add '' "${INPUT_PATHS:-}"

if [ "${INPUT_VERSION:-latest}" = local ]; then
  command=(node "$ACTION_PATH/bin/run.js")
else
  command=(npx --yes "clippy-diag@${INPUT_VERSION:-latest}")
fi
code=0
"${command[@]}" gate "${arguments[@]}" || code=$?
if [ -n "$summary" ]; then
  cat "$summary" >>"$GITHUB_STEP_SUMMARY"
  rm -f "$summary"
fi
[ -n "${GITHUB_OUTPUT:-}" ] && echo "exit-code=$code" >>"$GITHUB_OUTPUT"
exit "$code"
