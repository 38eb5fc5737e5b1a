#!/bin/sh
# The gate after a training, in any shell: train, judge, keep the page, end with the verdict's code (docs/ci.md).
# ci/gate-once.sh PATH…
set -eu
code=0
rm -f clippy-diag.html
npx --yes "clippy-diag@${CLIPPY_DIAG_VERSION:-0.3.0}" gate "$@" --report html:clippy-diag.html || code=$?
# npx ends with 1 as well where it cannot install: a gate that failed has written its page.
if [ "$code" = 1 ] && [ ! -e clippy-diag.html ]; then
  echo 'training gate: clippy-diag did not run, nothing was judged'
  exit 3
fi
case $code in
  0) echo 'training gate: passed' ;;
  1) echo 'training gate: failed; see clippy-diag.html' ;;
  4) echo 'training gate: could not judge, which is no pass' ;;
  *) echo "training gate: error $code" ;;
esac
exit "$code"
