#!/bin/sh
# The gate after a training, in any shell: train, judge, keep the page, end with the verdict's code (docs/ci.md).
# ci/gate-once.sh PATH…
set -eu
code=0
npx --yes "clippy-diag@${CLIPPY_DIAG_VERSION:-0.2.0}" gate "$@" --report html:clippy-diag.html || code=$?
case $code in
  0) echo 'training gate: passed' ;;
  1) echo 'training gate: failed; see clippy-diag.html' ;;
  4) echo 'training gate: could not judge, which is no pass' ;;
  *) echo "training gate: error $code" ;;
esac
exit "$code"
