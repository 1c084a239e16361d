# Veneer: build, prove, install. `make help` lists the targets.
#
# Needs Go and make alone for build, demo and test-unit. The end-to-end tests build the daemons they talk to from
# their own modules (tools/), once, into .cache/tools; test/harness/doc.go says more.

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=

# Outside a clone, as in a release's archive, the program asks the go command's record for its version.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w$(if $(VERSION), -X main.version=$(VERSION))

# The race detector needs a C compiler. Where there is none the tests run without it, and say so; under VENEER_REQUIRE
# its absence is an error.
CC_FOUND := $(shell command -v $$($(GO) env CC) 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race)

include tools/tools.mk

##@ Build

.PHONY: build
build: ## Build bin/veneer, static (the default)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/veneer ./cmd/veneer

.PHONY: install
install: build ## Install to $(PREFIX)/bin
	install -D -m 0755 bin/veneer '$(DESTDIR)$(PREFIX)/bin/veneer'

.PHONY: demo
demo: build ## Show the whole path on real files: no daemon, no root where the kernel allows it
	scripts/demo.sh

.PHONY: docs
docs: ## Generate the command reference in docs/ from the code
	rm -rf docs/cli docs/man
	$(GO) run ./cmd/veneer gen-docs docs/

##@ Test

# The tools come first: a few unit tests compare with another program or talk to a daemon. Alone, test-unit skips those.
.PHONY: test
test: tools oracles ## Everything: test-unit, then test-e2e
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-e2e

# The packages with no daemon in them, and the in-process parts of test/.
UNIT := $(GO) list ./... | grep -v '/test/'

.PHONY: test-unit
test-unit: race-note ## Unit tests and fuzz seeds, with the race detector
	$(GO) test $(RACE) -timeout 20m $$($(UNIT))

# The tests of test/e2e that run under the race detector: one or two of each command. Under it all of them would take twice
# the time, since there the library works inside of the test. (TestCrowd builds the program itself with it.)
RACED := ^Test(Concurrent.*|FSSuite|CommitStates|DeltaInvariant|LoadDiscarded|BuildPush|PullAllPlatforms|PlatformsDocker|VerifyDamage)$$

.PHONY: test-e2e
test-e2e: build tools oracles race-note ## End to end, against private daemons and a real registry (wants root)
	@[ "$$(id -u)" = 0 ] || echo "SKIP: not root: tests that need a daemon, a mount or another user are skipped"
	@$(MAKE) --no-print-directory -j2 SIDE_BY_SIDE=1 test-e2e-1 test-e2e-2
	$(GO) test -count=1 -timeout 30m -p 1 $$($(GO) list ./test/... | grep -v -e /test/e2e -e /test/cli -e /test/harness)

# Two halves that run beside each other, since they wait for daemons and disks for more than half of their time. test/faults
# is not among them, nor are the tests of Dockerfiles: the kernel warns of what they do, which the others take for what they did.
.PHONY: test-e2e-1 test-e2e-2
test-e2e-1:
	$(GO) test -count=1 -timeout 40m -run '^Test[A-O]' -skip '$(RACED)' ./test/e2e
	$(GO) test $(RACE) -count=1 -timeout 20m -run '$(RACED)' ./test/e2e

test-e2e-2:
	$(GO) test -count=1 -timeout 40m -run '^Test[^A-O]' -skip '$(RACED)' ./test/e2e
	$(GO) test -count=1 -timeout 30m -p 1 ./test/cli ./test/harness

# The long form of the suites in test/ that try faults and load: everything in place of a sample.
SOAK_TIMEOUT ?= 6h

.PHONY: soak
soak: build tools oracles ## The suites of faults and damage in full, on every containerd and snapshotter (root; hours)
	VENEER_SOAK=1 $(GO) test -count=1 -timeout $(SOAK_TIMEOUT) -p 1 -v ./test/faults/... ./test/e2e ./test/differential ./test/buildkit ./content/archive
	VENEER_SOAK=1 $(GO) test -count=1 -timeout $(SOAK_TIMEOUT) -v -run TestManyFiles ./test/cli

# Bounds each target: 10m, or 100000x for that many inputs. FUZZ=regexp chooses targets.
FUZZTIME ?= 10m

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME; an input that breaks one is kept (wants root, which some targets need)
	FUZZTIME='$(FUZZTIME)' FUZZ='$(FUZZ)' FUZZBUILD='$(FUZZBUILD)' GO='$(GO)' scripts/fuzz.sh

.PHONY: race-note
race-note:
	@[ -n '$(RACE)' ] || { echo 'NOTE: no C compiler: running without the race detector' >&2; [ -z "$$VENEER_REQUIRE" ]; }

##@ Measure

# What cannot be had is skipped, by bench too; without a containerd there is nothing to measure.
.PHONY: bench-tools
bench-tools: $(CONTAINERD2) ## Build or install what bench compares with (buildah, umoci and rsync are Debian packages)
	@for tool in $(REGISTRY) $(CRANE) $(BUILDKIT); do \
	  $(MAKE) --no-print-directory "$$tool" || echo "SKIP: $$tool cannot be built" >&2; \
	done
	@scripts/bench-packages.sh

.PHONY: bench
bench: build bench-tools ## Measure against other tools and the machine; write docs/benchmarks.md (root; doc.go in test/bench)
	$(GO) run ./test/bench

.PHONY: bench-go
bench-go: ## Go benchmarks of the parts, with allocations (BENCH=regexp chooses)
	$(GO) test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem $$($(UNIT))

.PHONY: profile
profile: ## CPU and memory profiles of builds, into .cache/profile; prints the top of each (root)
	$(GO) run ./test/bench profile

##@ Check

.PHONY: lint
lint: $(LINTERS) ## golangci-lint, strict (.golangci.yml)
	$(LINT) run ./...
	cd test/oracle && $(LINT) run --config $(CURDIR)/.golangci.yml ./...

.PHONY: fmt
fmt: $(LINTERS) ## Format in place: gofumpt and import order
	$(LINT) fmt ./...

.PHONY: check-docs
check-docs: docs ## Fail if docs/ is not what the code says
	git diff --exit-code -- docs/
	@new=$$(git ls-files --others --exclude-standard -- docs/); [ -z "$$new" ] || { echo "not committed: $$new" >&2; exit 1; }

.PHONY: validate-reproducible
validate-reproducible: ## Build the program twice, from two places, and compare
	scripts/validate-reproducible.sh '$(LDFLAGS)'

##@ Other

.PHONY: clean
clean: ## Remove what was built (.cache/, with the test daemons, stays; clean-all removes it too)
	rm -rf bin dist

.PHONY: clean-all
clean-all: clean ## clean, and .cache/
	rm -rf .cache

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-24s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
