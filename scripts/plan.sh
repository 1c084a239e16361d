#!/bin/bash
# plan.sh demo|test|test-unit|test-e2e: says what that target of the Makefile will build and do, how long it takes, and what
# it skips on this machine and why. The times are of 2 processors that nothing else uses.
# MISSING has the programs that are still to be built, RACE is empty where the race detector cannot run.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '  %-9s %s\n' "$@"; }

# The module cache is looked at, not the build cache: which of that is valid only the go command knows.
first() {
  [ -d "$(go env GOMODCACHE)/cache/download/github.com/containerd/containerd/v2" ] ||
    say "" "the first time it downloads modules ($1) and compiles them: $2 more"
}

tools() {
  local names=()
  for mark in ${MISSING:-}; do names+=("$(basename "$(dirname "$(dirname "$mark")")")"); done
  [ ${#names[@]} -gt 0 ] || { say tools "all in .cache/tools already"; return 0; }
  say tools "builds, once, into .cache/tools: ${names[*]} (3 to 5 minutes each)"
}

skips() {
  local missing
  [ -n "${RACE:-}" ] || say skips "the race detector: there is no C compiler"
  [ "$(id -u)" = 0 ] || say skips "tests that need a daemon, a mount or another user: this is not root"
  if ! missing=$(scripts/test-deps.sh --missing); then
    say skips "tests of programs that are not installed; make test-deps lists the Debian packages that have them"
  elif [ -n "$missing" ]; then
    say skips "tests that need these Debian packages: $missing"
    say "" "make test-deps installs them, as root"
  fi
}

echo "make $1, on $(nproc) processors, as $(id -un):"
case $1 in
demo)
  say builds "bin/veneer"
  first "80 MB" "3 to 6 minutes"
  say runs "scripts/demo.sh: about a minute, with up to 1.5 GB below ${TMPDIR:-/tmp}, which it removes"
  [ "$(id -u)" = 0 ] || say skips "the snapshot (its last step), unless user namespaces allow it: this is not root"
  ;;
test-unit)
  first "some 100 MB" "3 to 6 minutes"
  say runs "unit tests and fuzz seeds: about 12 minutes"
  skips
  say "" "and tests that need a daemon, where make tools has not built it"
  ;;
test-e2e)
  tools
  say runs "end-to-end tests: about 40 minutes"
  skips
  ;;
test)
  first "some 100 MB" "3 to 6 minutes"
  tools
  say runs "unit tests: about 12 minutes; end-to-end tests: about 40"
  skips
  ;;
esac
[ -z "${VENEER_REQUIRE:-}" ] || say "" "VENEER_REQUIRE is set: what would be skipped fails"
