# Veneer: build, prove, install. `make help` lists the targets.
#
# Needs Go, make and a registry of Go modules alone for build, demo and test-unit. The end-to-end tests build the daemons
# they talk to from their own modules (tools/), once, into .cache/tools; test/harness/doc.go says more.

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=

# A release's tag, and how far the clone is from it. Where there is none, the program tells the version that the go command
# has recorded: v0.0.0 with the commit's time and hash.
VERSION := $(shell git describe --tags --match 'v*' --dirty 2>/dev/null)
LDFLAGS := -s -w$(if $(VERSION), -X main.version=$(VERSION))

# The program, its tests, the tools and the linter are compiled with the same settings, so that no package is compiled
# twice for them: that takes minutes for each set of settings. Only the race detector needs others. Debugging information
# takes a fifth of the compiler's time, and nothing here reads it: the program is stripped, and traces do not need it.
export CGO_ENABLED = 0
SETTINGS := -trimpath -gcflags=all=-dwarf=false -ldflags=-w -tags=grpcnotrace
export GOFLAGS := $(filter-out $(SETTINGS),$(GOFLAGS)) $(SETTINGS)

# What makes the documents is left out of the program: see cmd/veneer/gendocs_without.go. grpcnotrace leaves out of grpc what
# uses html/template, with which the linker keeps all methods of all types: 5 MB. test/harness/program.go has the same tags.
TAGS := nodocs,grpcnotrace

# The race detector needs a C compiler. Where there is none the tests run without it, and say so; under VENEER_REQUIRE
# its absence is an error.
CC_FOUND := $(shell command -v $$($(GO) env CC) 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race)

# `make lint` has vet: with go test it would look at all dependencies too, each time that one of the settings changes.
# The program in test/watch runs go test, says each minute what is running and at the end what was skipped, and tries once
# more what may have failed by chance.
TEST      := $(GO) run ./test/watch -vet=off
RACE_TEST := $(TEST) $(RACE)

include tools/tools.mk

# What takes long says at once what it will do, and then when each step starts.
plan = @MISSING='$(foreach t,$(1),$(if $(wildcard $(t)),,$(t)))' RACE='$(RACE)' scripts/plan.sh $@
step = @printf '\n==> %s  %s\n' "$$(date +%T)" '$(1)'

##@ Build

# scripts/dist.sh has one for each architecture.
PROGRAM := bin/veneer

.PHONY: build
build: ## Build bin/veneer, static (the default)
	$(GO) build -tags $(TAGS) -ldflags '$(LDFLAGS)' -o '$(PROGRAM)' ./cmd/veneer

# The command that runs here what is installed elsewhere, for its documents and completions.
GENERATE  := env -u GOOS -u GOARCH $(GO) run ./cmd/veneer
INSTALLED := $(DESTDIR)$(PREFIX)

.PHONY: install
install: build ## Install to $(PREFIX): program, man pages, completions, systemd units, documents
	install -D -m 0755 '$(PROGRAM)' '$(INSTALLED)/bin/veneer'
	$(GENERATE) gen-docs $(if $(VERSION),--release '$(VERSION)' $(if $(COMMITTED),--date $(COMMITTED)),$(RELEASE)) bin/docs
	install -D -m 0644 -t '$(INSTALLED)/share/man/man1' bin/docs/man/*.1
	install -d '$(INSTALLED)'/share/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d}
	$(GENERATE) completion bash >'$(INSTALLED)/share/bash-completion/completions/veneer'
	$(GENERATE) completion zsh >'$(INSTALLED)/share/zsh/site-functions/_veneer'
	$(GENERATE) completion fish >'$(INSTALLED)/share/fish/vendor_completions.d/veneer.fish'
	install -d '$(INSTALLED)/lib/systemd/system'
	for unit in $(UNITS); do sed 's|/usr/local/bin/|$(PREFIX)/bin/|' "contrib/systemd/$$unit" >'$(INSTALLED)/lib/systemd/system/'"$$unit"; done
	install -D -m 0644 -t '$(INSTALLED)/share/doc/veneer' LICENSE NOTICE README.md CHANGELOG.md

UNITS := $(notdir $(wildcard contrib/systemd/*.service contrib/systemd/*.timer contrib/systemd/*.path))

.PHONY: uninstall
uninstall: ## Remove what install has put into $(PREFIX); images and caches stay
	rm -f '$(INSTALLED)/bin/veneer' '$(INSTALLED)'/share/man/man1/veneer{,-*}.1
	rm -f '$(INSTALLED)/share/bash-completion/completions/veneer' '$(INSTALLED)/share/zsh/site-functions/_veneer'
	rm -f '$(INSTALLED)/share/fish/vendor_completions.d/veneer.fish' $(UNITS:%='$(INSTALLED)/lib/systemd/system/%')
	rm -rf '$(INSTALLED)/share/doc/veneer'

# What a release consists of: for each architecture an archive, a .deb and an .rpm, the list of the modules in the program,
# and the checksums of all. The same commit gives the same bytes.
DIST_ARCHES ?= amd64 arm64

.PHONY: dist
dist: $(DISTRIBUTION) ## A release's archives and packages, in dist/
	DISTRIBUTION='$(DISTRIBUTION_DIR)' ARCHES='$(DIST_ARCHES)' MAKE='$(MAKE)' scripts/dist.sh

.PHONY: image
image: $(DISTRIBUTION) ## An image of Veneer, for pods and other containers, built by Veneer, in dist/image
	DISTRIBUTION='$(DISTRIBUTION_DIR)' ARCHES='$(DIST_ARCHES)' MAKE='$(MAKE)' scripts/image.sh

.PHONY: demo
demo: ## Show the whole path on real files: no daemon, no root where the kernel allows it
	$(call plan)
	$(call step,build)
	@$(MAKE) --no-print-directory build
	$(call step,demo)
	@scripts/demo.sh

# The man pages in docs/man have the version and the date of the newest release in the changelog, and none before it; those
# that are installed have the commit's. Never the clock's: the same source makes the same pages.
RELEASE = $(shell sed -n 's/^\#\# \[\([0-9].*\)\] - \([0-9-]*\)$$/--release \1 --date \2/p;/^\#\# /q' CHANGELOG.md)
COMMITTED = $(or $(shell date -u -d "@$${SOURCE_DATE_EPOCH:-none}" +%F 2>/dev/null),$(shell git log -1 --format=%cs 2>/dev/null))

.PHONY: docs
docs: reference ## The command reference and man pages in docs/, from the code, and the site in dist/site
	@$(MAKE) --no-print-directory site REPORT='$(REPORT_FILE)'

.PHONY: reference
reference:
	rm -rf docs/cli docs/man
	$(GO) run ./cmd/veneer gen-docs $(RELEASE) docs/

# The documents as pages that a browser reads from the disk. They are made by a module of its own, so that its Markdown
# library has no place in Veneer's go.mod. REPORT is a file that becomes a page: that of the demo's image, which takes a
# minute to make and is kept in dist/.
SITE        := $(CURDIR)/dist/site
REPORT_FILE := $(CURDIR)/dist/demo-report.html

.PHONY: site
site: $(REPORT) ## README.md, docs/ and contrib/ as a static site, in dist/site
	cd tools/site && $(GO) run . -from '$(CURDIR)' -to '$(SITE)' $(if $(REPORT),-report '$(REPORT)')

$(REPORT_FILE):
	@mkdir -p $(@D)
	@$(MAKE) --no-print-directory build
	DEMO_REPORT='$@' scripts/demo.sh

##@ Test

ALL_TOOLS := $(CONTAINERD2) $(CONTAINERD1) $(REGISTRY) $(CRANE) $(BUILDKIT) $(DISTRIBUTION) $(ORACLES) $(KUBELET)

# The tools come first: a few unit tests compare with another program or talk to a daemon. Alone, test-unit skips those.
# What fails does not keep the rest from running: a run of an hour tells all that it can.
.PHONY: test
test: ## Everything: test-unit, then test-e2e
	$(call plan,$(ALL_TOOLS))
	$(call step,tools)
	@$(MAKE) --no-print-directory tools oracles
	@$(MAKE) --no-print-directory -k PLANNED=1 test-unit test-e2e
	$(call step,all tests passed)

.PHONY: test-deps
test-deps: ## Install what the tests use (test/packages.txt), on Debian as root
	@scripts/test-deps.sh

# The packages with no daemon in them, and the in-process parts of test/. First those that wait for longest.
UNIT := $(GO) list ./engine/run ./content/registry ./... | grep -v '/test/'
# Those that compute for minutes under the race detector, where it has nothing to find: they start no goroutine, or only ones
# that content/archive's tests start under it.
SERIAL := ./content/tardiff ./content/delta ./internal/recompress ./internal/zstdopt

.PHONY: test-unit
test-unit: race-note ## Unit tests and fuzz seeds, with the race detector
	$(if $(PLANNED),,$(call plan))
	$(call step,unit tests)
	@$(RACE_TEST) -timeout 20m -- $$($(UNIT) | grep -v $(patsubst .%,-e '%$$',$(SERIAL)))
	@$(TEST) -timeout 20m -- $(SERIAL)

# The tests of test/e2e that run under the race detector: one or two of each command. Under it all of them would take twice
# the time, since there the library works inside of the test. (TestCrowd builds the program itself with it.)
RACED := ^Test(Concurrent.*|FSSuite|CommitStates|DeltaInvariant|LoadDiscarded|BuildPush|PullAllPlatforms|PlatformsDocker|VerifyDamage)$$

.PHONY: test-e2e
test-e2e: race-note ## End to end, against private daemons and a real registry (wants root)
	$(if $(PLANNED),,$(call plan,$(ALL_TOOLS)))
	$(call step,build)
	@$(MAKE) --no-print-directory build tools oracles
	@failed=0; for pair in 'test-e2e-1 test-e2e-2' 'test-faults test-rest' 'test-dockerfiles test-buildkit'; do \
	  $(MAKE) --no-print-directory -k -j2 SIDE_BY_SIDE=1 $$pair || failed=1; \
	done; exit $$failed

# Pairs that run beside each other, since each alone often waits for daemons and disks. test/e2e, test/cli and test/faults
# look at what the kernel warns of. test/faults, the builds of Dockerfiles and what boots make it warn, so they run apart.
.PHONY: test-e2e-1 test-e2e-2 test-faults test-rest test-dockerfiles test-buildkit
test-e2e-1:
	$(call step,end to end: first half)
	@$(TEST) -count=1 -timeout 40m -run '^Test[A-O]' -skip '$(RACED)' -- ./test/e2e
	$(call step,end to end: with the race detector)
	@$(RACE_TEST) -count=1 -timeout 20m -run '$(RACED)' -- ./test/e2e
	$(call step,the harness)
	@$(TEST) -count=1 -timeout 20m -- ./test/harness

test-e2e-2:
	$(call step,end to end: second half)
	@$(TEST) -count=1 -timeout 40m -run '^Test[^A-O]' -skip '$(RACED)' -- ./test/e2e
	$(call step,the program)
	@$(TEST) -count=1 -timeout 40m -- ./test/cli

test-faults:
	$(call step,faults)
	@$(TEST) -count=1 -timeout 40m -- ./test/faults

# Whatever is in test/ and has no place of its own: a new suite is run without being named. The kubelet is built here, since
# test/faults leaves a processor idle for as long as that takes.
NAMED := e2e cli harness faults dockerfile differential buildkit dist systemd
test-rest: $(KUBELET)
	$(call step,the other suites)
	@$(TEST) -count=1 -timeout 20m -p 1 -- $$($(GO) list ./test/... | grep -v $(NAMED:%=-e '/test/%$$') -e /test/buildkit/)

test-dockerfiles:
	$(call step,Dockerfiles and packages)
	@$(TEST) -count=1 -timeout 30m -p 1 -- ./test/dockerfile ./test/dist

test-buildkit:
	$(call step,Dockerfiles beside BuildKit and systemd)
	@$(TEST) -count=1 -timeout 30m -p 1 -- ./test/differential ./test/buildkit/... ./test/systemd

# The long form of the suites in test/ that try faults and load: everything in place of a sample.
SOAK_TIMEOUT ?= 6h

# What depends most on the daemon, on the minor versions of containerd 2 before the newest.
MINOR := ^Test(Matrix|Invariant|Commit.*|Kubernetes|SaveLoad|Registry|ServiceDiffer|Depth|ParallelUnpack|VerifyAppliers|WriterEnds|LoadDelta)$$

.PHONY: soak-minors
soak-minors: build oracles $(REGISTRY) $(CRANE) $(CONTAINERD2_MINORS) # a part of soak
	@failed=0; for minor in $(MINORS); do \
	  printf '\n==> containerd %s\n' $$minor; \
	  VENEER_CONTAINERD2=$$minor $(GO) test -count=1 -timeout $(SOAK_TIMEOUT) -v -run '$(MINOR)' -skip '/containerd-1' ./test/e2e || failed=1; \
	done; exit $$failed

.PHONY: soak
soak: build tools oracles $(KUBELET) $(KUBERNETES) $(SPEGEL) $(STARGZ) $(NYDUS) ## The suites of faults and damage in full, on every containerd and snapshotter (root; hours)
	VENEER_SOAK=1 $(GO) test -count=1 -timeout $(SOAK_TIMEOUT) -v ./test/kubelet ./test/dist
	VENEER_SOAK=1 $(GO) test -count=1 -timeout $(SOAK_TIMEOUT) -p 1 -v ./test/faults/... ./test/e2e ./test/differential ./test/buildkit ./content/archive
	VENEER_SOAK=1 $(GO) test -count=1 -timeout $(SOAK_TIMEOUT) -v -run TestManyFiles ./test/cli
	VENEER_SOAK=1 $(GO) test -count=1 -timeout $(SOAK_TIMEOUT) -v -run TestMillion ./test/report
	$(MAKE) --no-print-directory soak-minors
	$(MAKE) --no-print-directory fuzz FUZZTIME=20000x

# Bounds each target: 10m, or 100000x for that many inputs. FUZZ=regexp chooses targets.
FUZZTIME ?= 10m

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME; an input that breaks one is kept (wants root, which some targets need)
	FUZZTIME='$(FUZZTIME)' FUZZ='$(FUZZ)' FUZZBUILD='$(FUZZBUILD)' GO='$(GO)' scripts/fuzz.sh

.PHONY: race-note
race-note: # the plan tells it where it is no error
	@[ -n '$(RACE)' ] || [ -z "$$VENEER_REQUIRE" ] || { echo 'no C compiler for the race detector' >&2; exit 1; }

##@ Measure

# What cannot be had is skipped, by bench too; without a containerd there is nothing to measure.
.PHONY: bench-tools
bench-tools: $(CONTAINERD2) ## Build or install what bench compares with (buildah, umoci, skopeo and rsync are Debian packages)
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
	cd tools/site && $(LINT) run --config $(CURDIR)/.golangci.yml ./...
	cd tools/dist && $(LINT) run --config $(CURDIR)/.golangci.yml ./...

.PHONY: fmt
fmt: $(LINTERS) ## Format in place: gofumpt and import order
	$(LINT) fmt ./...

.PHONY: check-docs
check-docs: reference site ## Fail if docs/ is not what the code says, or has a broken link
	cd tools/site && $(GO) test .
	git diff --exit-code -- docs/
	@new=$$(git ls-files --others --exclude-standard -- docs/); [ -z "$$new" ] || { echo "not committed: $$new" >&2; exit 1; }

.PHONY: validate-reproducible
validate-reproducible: ## Build the program twice, from two places, and compare; fail if it is too large
	scripts/validate-reproducible.sh '$(LDFLAGS)' '$(TAGS)'

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
