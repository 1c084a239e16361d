# Sourced by what makes a release: sets SOURCE_DATE_EPOCH, the commit's time, and version: $PACKAGE_VERSION, else the commit's
# tag, else one that sorts before every release, and by time.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
version=${PACKAGE_VERSION:-$(git describe --tags --exact-match --match 'v*' 2>/dev/null || true)}
version=${version#v}
[ -n "$version" ] || version=0.0.0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$(git rev-parse --short=12 HEAD)
export SOURCE_DATE_EPOCH PACKAGE_VERSION=$version
