#!/usr/bin/env bash
# The gate in a GitHub job: inputs from INPUT_* (lists have one entry a line), annotations on standard output, the
# job summary, a comment on the pull request where asked for, and the exit code as an output of the step.
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
if [ "${INPUT_VERSION:-}" = local ]; then
  command=(node "$ACTION_PATH/bin/run.js")
else
  command=(npx --yes "clippy-diag@${INPUT_VERSION:?the version of clippy-diag}")
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
summary="$folder/summary.md"

# This run against an accepted one: told, never judged. What judges is the gate.
if [ -n "${INPUT_COMPARE_WITH:-}" ]; then
  arguments=("--report=markdown:$folder/comparison.md" --compare --)
  add '' "$INPUT_COMPARE_WITH"
  add '' "${INPUT_PATHS:-}"
  "${command[@]}" analyze "${arguments[@]}" >"$folder/analyze.txt" 2>&1 || cat "$folder/analyze.txt" >&2
fi

arguments=()
add --rule "${INPUT_RULES:-}"
add --report "${INPUT_REPORTS:-}"
[ -n "${INPUT_CONFIG:-}" ] && arguments+=("--config=$INPUT_CONFIG")
arguments+=(--report=github:- "--report=markdown:$folder/gate.md" --)
add '' "${INPUT_PATHS:-}"
code=0
"${command[@]}" gate "${arguments[@]}" || code=$?
# npx ends with 1 as well where it cannot install: a gate that failed has written its report.
if [ "$code" = 1 ] && [ ! -e "$folder/gate.md" ]; then
  echo '::error title=clippy-diag::clippy-diag did not run, nothing was judged'
  code=3
fi

{
  cat "$folder/gate.md" 2>/dev/null || echo "clippy-diag gate ended with code $code; the log of the job says why."
  if [ -f "$folder/comparison.md" ]; then
    printf '\n<details><summary>This run against the accepted one</summary>\n\n'
    cat "$folder/comparison.md"
    printf '\n</details>\n'
  fi
} >"$summary"
[ -n "${GITHUB_STEP_SUMMARY:-}" ] && cat "$summary" >>"$GITHUB_STEP_SUMMARY"
[ -n "${GITHUB_OUTPUT:-}" ] && echo "exit-code=$code" >>"$GITHUB_OUTPUT"

# One comment, which later runs write over. A comment that cannot be written changes no verdict.
if [ "${INPUT_COMMENT:-false}" = true ] && [ -n "${PULL_REQUEST:-}" ]; then
  marker='<!-- clippy-diag gate -->'
  comments="repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
  # GitHub takes 65,536 characters.
  { echo "$marker"; head -c 60000 "$summary"; } >"$folder/comment.md"
  earlier=$(gh api --paginate "$comments" --jq ".[] | select(.body | startswith(\"$marker\")) | .id" | head -1)
  if [ -n "$earlier" ]; then
    gh api -X PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$earlier" -F "body=@$folder/comment.md" >/dev/null
  else
    gh api -X POST "$comments" -F "body=@$folder/comment.md" >/dev/null
  fi || echo "::warning title=clippy-diag::the comment was not written: does the job have pull-requests: write?"
fi
exit "$code"
