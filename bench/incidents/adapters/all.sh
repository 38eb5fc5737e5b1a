#!/usr/bin/env bash
# Scores clippy-diag, the rules and the linters by logs, and keeps their counts: adapters/all.sh CASES RESULTS PYTHON [FLAGS OF SCORE]
# PYTHON has the linters (peers.py names their versions). Flags are such as --half hidden --jobs 4.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scored() { node "$here/../clippy-bench.js" score --cases "$cases" --evidence log --keep "$results" --name "$1" --tool "$2 {case}" "${flags[@]}"; }
cases=$1 results=$2 python=$3 flags=("${@:4}")
scored clippy-diag "node '$here/clippy-diag.js'"
scored 'three sigma' "node '$here/rules.js' three-sigma"
scored 'rule of thumb' "node '$here/rules.js' thumb"
scored 'NaN check' "node '$here/rules.js' nan"
scored 'trainspotter 0.2.6' "'$python' '$here/peers.py' trainspotter"
scored 'trainproof 0.22.0' "'$python' '$here/peers.py' trainproof"
scored 'losslint 0.4.1' "'$python' '$here/peers.py' losslint"
