#!/usr/bin/env bash
# The main job on real files: the Go tree of this machine becomes a base image, a second state of that tree becomes one
# thin layer on it, and the result is checked by means that are not Veneer's. No daemon; root only for what says so.
# Everything happens in one temporary directory (TMPDIR says where; about 1.5 GB for a while), which is removed.
set -euo pipefail
cd "$(dirname "$0")/.."

veneer=${VENEER:-$PWD/bin/veneer}
tree=${DEMO_TREE:-$(go env GOROOT)}
work=$(mktemp -d "${TMPDIR:-/tmp}/veneer-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The engine that is built in, on a root of its own, whatever the environment says otherwise.
export VENEER_ENGINE=embedded VENEER_ROOT=$work/root SOURCE_DATE_EPOCH=1700000000
unset CONTAINERD_ADDRESS CONTAINERD_NAMESPACE CONTAINERD_SNAPSHOTTER

title() { printf '\n== %s\n' "$*"; }
fail() { echo "demo: $*" >&2; exit 1; }
# run shows a command as one would type it, and runs it.
run() {
  local shown='$ veneer' word
  for word in "$@"; do
    case $word in *' '*) shown+=" '$word'" ;; *) shown+=" $word" ;; esac
  done
  echo "${shown//$work\//}"
  (cd "$work" && "$veneer" --progress quiet "$@")
}
# layer prints the digest of an image's last layer, blob the file that holds it.
layer() { "$veneer" history --no-trunc "$1" | awk '/^sha256:/ {print $1}' | tail -n 1; }
blob() { echo "$VENEER_ROOT/content/blobs/${1/://}"; }
size() { wc -c <"$(blob "$(layer "$1")")"; }
mb() { awk -v n="$1" 'BEGIN {printf "%.2f MB", n / 1e6}'; }

[ -d "$tree/src" ] || fail "no Go tree at $tree: install Go, or name a directory with DEMO_TREE"

title "1. A base image of real files: $tree"
unpack=() # every build makes a snapshot where it can
why=$("$veneer" build --from scratch -t probe -c 'LABEL probe=1' 2>&1 >/dev/null | sed -n '/not unpacked/s/^veneer: \(warning: \)\?//p')
if [ -n "$why" ]; then
  unpack=(--no-unpack)
  echo "# $why"
  echo "# Images are made all the same, with the same digests; --no-unpack says that no snapshot is wanted."
fi
"$veneer" --progress quiet rmi probe >/dev/null
run build --from scratch --copy "$tree/:/usr/local/go" "${unpack[@]}" -t go:1

title "2. A second state of that tree, as work on it leaves it"
cp -a "$tree" "$work/go"
chmod -R u+w "$work/go"
cd "$work/go"
edited=0
for f in src/net/http/*.go; do echo "// edited" >>"$f"; edited=$((edited + 1)); done
mkdir src/demo && cp src/fmt/*.go src/demo/
ln src/demo/print.go src/demo/hardlink.go
ln -s ../fmt/print.go src/demo/symlink.go
rm -r test doc 2>/dev/null || rm -r api
chmod 700 src/make.bash
find src/os -type f -exec touch {} +
cd "$work"
echo "# $edited files edited, a directory with a hard link and a symbolic link added, directories deleted, one mode"
echo "# changed, and new times on all of src/os, which are no difference: bytes are compared."

title "3. What a build would do. Nothing is written"
run diff --from go:1 --sync ./go:/usr/local/go >"$work/diff.txt"
grep -v '^[AMD] ' "$work/diff.txt"
grep -m 6 '^[AMD] ' "$work/diff.txt"
printf '… %s lines of paths …\n' "$(grep -c '^[AMD] ' "$work/diff.txt")"

title "4. The build: one layer with what differs, and a changed config"
run build --from go:1 --sync ./go:/usr/local/go "${unpack[@]}" -c 'ENV GOTOOLCHAIN=local' -t go:2 --iidfile image.txt

title "5. Against a full copy, as COPY in a Dockerfile stores it"
run build --from scratch --copy ./go/:/usr/local/go --no-unpack -t go:copy
thin=$(size go:2) full=$(size go:copy)
echo "thin layer $(mb "$thin"), full copy $(mb "$full"): 1/$((full / thin)) of the bytes"
[ $((thin * 5)) -lt "$full" ] || fail "the thin layer is not thin"

title "6. The result"
run history go:2
run images
# For the site of the documents (make docs): the report of this image, and no more.
if [ -n "${DEMO_REPORT:-}" ]; then
  (cd "$work" && "$veneer" --progress quiet report go:2 --against go:1 -o "$work/report.html")
  cp "$work/report.html" "$DEMO_REPORT"
  exit
fi

title "7. Is it right? The image's files against the directory's, compared once more"
run diff --exit-code --no-cache --from go:2 --sync ./go:/usr/local/go
cp "$work/image.txt" "$work/first.txt"

title "8. Is it right, by other means? Both layers unpacked with tar alone, then diff -r"
mkdir "$work/tar"
for image in go:1 go:2; do
  list=$work/list.txt
  tar -tzf "$(blob "$(layer $image)")" >"$list"
  # A name that starts with .wh. deletes what lower layers have (image-spec, layer.md).
  { grep '/\.wh\.[^/]*$' "$list" || true; } | sed 's#/\.wh\.#/#' | while IFS= read -r gone; do rm -rf "$work/tar/$gone"; done
  tar -xzf "$(blob "$(layer $image)")" -C "$work/tar" --no-same-owner --exclude '.wh.*'
done
diff -r --no-dereference "$work/tar/usr/local/go" "$work/go"
echo "no difference in $(find "$work/go" -type f | wc -l) files"
rm -rf "$work/tar"

title "9. The same input, the same digest"
run build --from go:1 --sync ./go:/usr/local/go --no-cache --no-unpack -c 'ENV GOTOOLCHAIN=local' -t go:again --iidfile image.txt
cmp "$work/first.txt" "$work/image.txt"
[ "$("$veneer" inspect --manifest go:again | sha256sum | cut -d ' ' -f 1)" = "$(cut -d : -f 2 "$work/image.txt")" ] ||
  fail "the digest is not that of the manifest"

title "10. The unpacked image, as a container would see it"
if [ ${#unpack[@]} -gt 0 ]; then
  echo "left out: no snapshot could be made here, see step 1; as root this step mounts it"
elif ! command -v mount >/dev/null; then
  echo "left out: there is no mount program here, with which this step looks at the snapshot"
elif ! why=$(unshare --mount true 2>&1); then
  echo "left out: the snapshot cannot be mounted here ($why)" # as in a chroot, whose root is no mount point
else
  # The snapshots' directories, the uppermost first; in a mount namespace of its own, so that nothing stays mounted.
  lower=$(find "$VENEER_ROOT/snapshotters/overlayfs/snapshots" -mindepth 2 -maxdepth 2 -name fs | sort -t / -k "$(($(tr -cd / <<<"$VENEER_ROOT" | wc -c) + 4))" -rn | paste -sd :)
  mkdir "$work/view"
  unshare --mount sh -ec '
    mount -t overlay -o "ro,lowerdir=$1" overlay "$2"
    diff -r --no-dereference "$2/usr/local/go" "$3"
  ' sh "$lower" "$work/view" "$work/go"
  echo "no difference"
fi

title "Done. $(mb "$thin") stored and shipped in place of $(mb "$full")"
