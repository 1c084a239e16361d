#!/usr/bin/env bash
# Runs the fuzz targets, one after the other, and prints how many inputs each has tried. An input that breaks one is kept
# in the package's testdata/fuzz, where go test tries it from then on; what covers more is kept in .cache/fuzz.
#
#   FUZZTIME   for each target: a duration, or as in 1000x a number of inputs
#   FUZZ       a regular expression that chooses targets, as in FuzzWrite
#   FUZZPROCS  how many processes try inputs (all processors)
#   FUZZBUILD  how targets are compiled. "-fuzz ." lets the fuzzer see what an input covers, and takes minutes the first
#              time, since it is for the standard library too; -race takes what the tests have compiled already
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache/fuzz
mkdir -p "$cache/bin"
TMPDIR=$(mktemp -d)
# In memory five times as many trees are compared, where files there can have attributes.
memory=$(mktemp -d -p /dev/shm 2>/dev/null) || memory=
trap 'rm -rf "$TMPDIR" "$memory"' EXIT
if [ -n "$memory" ] && setfattr -n user.a -v b "$memory" 2>/dev/null; then
  rmdir "$TMPDIR"
  TMPDIR=$memory
fi
export TMPDIR

# The Makefile has it off for all that needs no race detector.
[[ ${FUZZBUILD:-} != *-race* ]] || export CGO_ENABLED=1

failed=0

# The fuzzer takes an input that needs ten seconds for one that hangs, and kills the process without a word. On a busy machine
# any may. One that hangs or crashes does so by itself, too.
slow() { # DIRECTORY PROGRAM
  local input file
  input=$(sed -n 's|.*Failing input written to testdata/fuzz/||p; s|.*failure while testing seed corpus entry: ||p' "$log" | head -n 1)
  [ -n "$input" ] || return 1
  file=$1/testdata/fuzz/$input
  if [ ! -e "$file" ] && [ -e "$cache/$1/$input" ]; then
    install -D -m 0644 "$cache/$1/$input" "$file"
  elif ! grep -q 'Failing input written' "$log"; then
    file= # which was there before
  fi
  (cd "$1" && timeout 120 "$2" -test.run "^${input%%/*}\$/^${input#*/}\$") >"$TMPDIR/again" 2>&1 || return 1
  ! grep -q 'no tests to run' "$TMPDIR/again" || return 1
  [ -z "$file" ] || { rm "$file" && rmdir -p --ignore-fail-on-non-empty "$(dirname "$file")"; }
}

run() { # DIRECTORY PROGRAM TARGET
  local name=${1#.} log=$TMPDIR/log status=0 tried
  name=${name#/}
  # Making an input smaller that covers more, which takes a minute at most if nobody says otherwise, is not worth its time.
  (cd "$1" && "$2" -test.run '^$' -test.fuzz "^$3\$" -test.fuzztime "$FUZZTIME" -test.fuzzminimizetime 100x \
    -test.fuzzcachedir "$cache/$1" ${FUZZPROCS:+-test.parallel "$FUZZPROCS"}) >"$log" 2>&1 || status=$?
  tried=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
  # Go's fuzzer sometimes takes the end of its own time for a failure. A real one has an input.
  if grep -q '^ *context deadline exceeded$' "$log" && ! grep -q 'Failing input' "$log"; then
    status=0
  fi
  if grep -q 'fuzzing process hung or terminated unexpectedly' "$log" && slow "$1" "$2"; then
    echo "${name:-veneer}.$3 ended early: the machine was too busy for an input, which does no harm by itself" >&2
    status=0 tried=${tried:-0}
  fi
  printf '%-40s %12s inputs\n' "${name:-veneer}.$3" "${tried:-no}"
  if [ "$status" != 0 ] || [ -z "$tried" ]; then
    sed "s|testdata/fuzz/|$1/&|g" "$log" >&2
    [ "$status" = 0 ] && [ -z "${VENEER_REQUIRE:-}" ] || failed=1
  fi
}

for dir in $(grep -rl --include='*_test.go' --exclude-dir=.cache '^func Fuzz' . | xargs -n 1 dirname | sort -u); do
  program=$cache/bin/$(tr / - <<<"$dir").test
  ${GO:-go} test -c ${FUZZBUILD:--fuzz .} -o "$program" "$dir"
  for target in $(cd "$dir" && "$program" -test.list '^Fuzz'); do
    [[ $target =~ ${FUZZ:-.} ]] && run "$dir" "$program" "$target"
  done
done
exit "$failed"
