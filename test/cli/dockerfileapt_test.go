package cli_test

import (
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// coldFile installs a package of Debian's. The mirror may be one of an older day.
const coldFile = `FROM debian:12-apt AS tools
RUN --mount=type=bind,source=sources,target=/etc/apt/sources.list \
    apt-get -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends hello && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*
RUN hello -t && dpkg --verify hello
FROM scratch
COPY --from=tools /usr/bin/hello /hello
`

// TestColdApt: apt-get in a RUN installs a package of a real mirror, by the network
// that this machine has, where nothing is cached.
func TestColdApt(t *testing.T) {
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	sources := harness.AptSources(t)
	b := newBench(t)
	b.ok("load", harness.DebianAptImage(t))
	b.write("app/Dockerfile", coldFile)
	b.write("app/sources", sources)
	o := b.try("--progress", "plain", "build", "--network", "host", "-t", "app:1", "app")
	if o.code != 0 || !strings.Contains(o.stderr, "hello, world") {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	b.ok("verify", "app:1")
	if o := b.try("build", "--network", "host", "-t", "app:2", "app"); o.code != 0 || !strings.Contains(o.stderr, "3 of them cached") {
		t.Errorf("the same again: %d, %s", o.code, o.stderr)
	}
}
