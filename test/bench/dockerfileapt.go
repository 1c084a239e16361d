package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/veneer-build/veneer/test/harness"
)

// aptDockerfile installs packages by the network that the machine has. The mirror may be one of an older day.
const aptDockerfile = `FROM ` + harness.DebianName + `-apt
RUN --mount=type=bind,source=sources,target=/etc/apt/sources.list \
    apt-get -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates git && \
    rm -rf /var/lib/apt/lists/*
CMD ["git", "version"]
`

// apt measures a Dockerfile whose one step installs packages, of which nothing is cached.
func (d *dockerfiles) apt(ctx context.Context) error {
	s, err := d.source("apt", aptDockerfile)
	if err != nil {
		return err
	}
	if err := d.aptInput(ctx, s); errors.Is(err, harness.ErrUnavailable) {
		d.note("SKIP: a Dockerfile with apt: %v", err)
		return nil
	} else if err != nil {
		return fmt.Errorf("a Dockerfile with apt: %w", err)
	}
	for range d.rounds {
		if d.buildkit != nil {
			m, err := d.withBuildkit(ctx, s, dockerTag, "--no-cache")
			if err != nil {
				return err
			}
			d.add(scenarioDockerfileApt, rowBuildkitD, m)
		}
		m, err := d.withVeneer(ctx, s, dockerTag, "--no-cache")
		if err != nil {
			return err
		}
		d.add(scenarioDockerfileApt, rowSteps, m)
	}
	return nil
}

// aptInput writes the context, and gives the base to both tools.
func (d *dockerfiles) aptInput(ctx context.Context, s source) error {
	lines, err := harness.DebianSources(ctx)
	if err != nil {
		return err
	}
	archive, err := harness.DebianApt(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(s.dir, 0o755), os.WriteFile(filepath.Join(s.dir, "sources"), []byte(lines), 0o644), d.load(namespace, archive)); err != nil {
		return err
	}
	if d.buildkit == nil {
		return nil
	}
	return d.load(buildkitNamespace, archive)
}
