# The programs that tests and checks run, each built once from its own Go module into .cache/tools/NAME-VERSION/bin.
#
# A small module each, because `go install PKG@VERSION` refuses modules with exclude directives (containerd), and because
# their dependencies have no place in Veneer's go.mod. The version is read from that go.mod, so a bump there is a new
# folder here. A containerd and its shim are one set: a shim of another version breaks `run`.

CACHE ?= $(CURDIR)/.cache
TOOLS := $(CACHE)/tools

# tool_version(module folder, module path): the version its go.mod requires, without the v.
tool_version = $(shell awk '$$1 == "$(2)" {sub(/^v/, "", $$2); print $$2; exit}' tools/$(1)/go.mod)

CONTAINERD2_DIR  := $(TOOLS)/containerd-$(call tool_version,containerd-2,github.com/containerd/containerd/v2)/bin
CONTAINERD1_DIR  := $(TOOLS)/containerd-$(call tool_version,containerd-1.7,github.com/containerd/containerd)/bin
REGISTRY_DIR     := $(TOOLS)/registry-$(call tool_version,registry,github.com/distribution/distribution/v3)/bin
CRANE_DIR        := $(TOOLS)/crane-$(call tool_version,crane,github.com/google/go-containerregistry)/bin
BUILDKIT_DIR     := $(TOOLS)/buildkit-$(call tool_version,buildkit,github.com/moby/buildkit)/bin
LINT_DIR         := $(TOOLS)/golangci-lint-$(call tool_version,lint,github.com/golangci/golangci-lint/v2)/bin
ORACLES_DIR      := $(TOOLS)/oracles/bin
DISTRIBUTION_DIR := $(TOOLS)/nfpm-$(call tool_version,dist,github.com/goreleaser/nfpm/v2)/bin
SPEGEL_DIR       := $(TOOLS)/spegel-$(call tool_version,spegel,github.com/spegel-org/spegel)/bin
NYDUS_DIR        := $(TOOLS)/nydus-$(call tool_version,nydus,github.com/containerd/nydus-snapshotter)/bin
STARGZ_DIR       := $(TOOLS)/stargz-$(call tool_version,stargz,github.com/containerd/stargz-snapshotter)/bin
KUBELET_VERSION  := $(call tool_version,kubelet,k8s.io/kubernetes)
KUBELET_DIR      := $(TOOLS)/kubelet-$(KUBELET_VERSION)/bin
KUBERNETES_DIR   := $(TOOLS)/kubernetes-$(KUBELET_VERSION)/bin
LINT             := $(LINT_DIR)/golangci-lint

CONTAINERD2 := $(CONTAINERD2_DIR)/.built
CONTAINERD1 := $(CONTAINERD1_DIR)/.built
REGISTRY    := $(REGISTRY_DIR)/.built
CRANE       := $(CRANE_DIR)/.built
BUILDKIT    := $(BUILDKIT_DIR)/.built
KUBELET     := $(KUBELET_DIR)/.built
KUBERNETES  := $(KUBERNETES_DIR)/.built
SPEGEL      := $(SPEGEL_DIR)/.built
STARGZ      := $(STARGZ_DIR)/.built
NYDUS       := $(NYDUS_DIR)/.built
LINTERS     := $(LINT_DIR)/.built
ORACLES     := $(ORACLES_DIR)/.built

DISTRIBUTION := $(DISTRIBUTION_DIR)/.built

# build_tools(module folder, linker flags, packages): the packages, or all its tool lines, static, into the folder of the
# target. The mark comes last, so an interrupted build is done again.
define build_tools
	@mkdir -p $(@D)
	@echo "building $(@D:$(TOOLS)/%/bin=%) (once)"
	cd tools/$(1) && $(GO) build -ldflags '-s -w $(2)' -o $(@D)/ $(or $(3),tool)
	@touch $@
endef

$(CONTAINERD2): tools/containerd-2/go.mod tools/containerd-2/go.sum
	$(call build_tools,containerd-2)

# The minor versions before, for `make soak` alone.
MINORS := 2.0 2.1 2.2 2.3
CONTAINERD2_MINORS := $(foreach minor,$(MINORS),$(TOOLS)/containerd-$(call tool_version,containerd-$(minor),github.com/containerd/containerd/v2)/bin/.built)

define minor_rule
$(TOOLS)/containerd-$(call tool_version,containerd-$(1),github.com/containerd/containerd/v2)/bin/.built: tools/containerd-$(1)/go.mod tools/containerd-$(1)/go.sum
	$$(call build_tools,containerd-$(1))
endef
$(foreach minor,$(MINORS),$(eval $(call minor_rule,$(minor))))

$(CONTAINERD1): tools/containerd-1.7/go.mod tools/containerd-1.7/go.sum
	$(call build_tools,containerd-1.7)

$(REGISTRY): tools/registry/go.mod tools/registry/go.sum
	$(call build_tools,registry)

$(CRANE): tools/crane/go.mod tools/crane/go.sum
	$(call build_tools,crane)

# What test/differential and `make bench` compare with.
$(BUILDKIT): tools/buildkit/go.mod tools/buildkit/go.sum
	$(call build_tools,buildkit)

# For `make soak` alone.
$(SPEGEL): tools/spegel/go.mod tools/spegel/go.sum
	$(call build_tools,spegel)

# For `make soak` alone.
$(NYDUS): tools/nydus/go.mod tools/nydus/go.sum
	$(call build_tools,nydus)

# For `make soak` alone: a small program over the packages of stargz-snapshotter, whose own is in a module that is not served.
$(STARGZ): tools/stargz/go.mod tools/stargz/go.sum tools/stargz/snapshotter/main.go
	$(call build_tools,stargz,,./snapshotter)

# What a node has of Kubernetes, and for `make soak` alone the control plane. What version they are is told by the linker.
KUBELET_MINOR       = $(word 2,$(subst ., ,$(KUBELET_VERSION)))
KUBERNETES_LDFLAGS  = $(foreach package,k8s.io/component-base/version k8s.io/client-go/pkg/version,-X $(package).gitVersion=v$(KUBELET_VERSION) -X $(package).gitMajor=1 -X $(package).gitMinor=$(KUBELET_MINOR))

# It takes 9 minutes of a processor: `make test` builds it beside tests that leave one idle.
$(KUBELET): tools/kubelet/go.mod tools/kubelet/go.sum $(wildcard tools/kubelet/manifests/*.go)
	$(call build_tools,kubelet,$(KUBERNETES_LDFLAGS),k8s.io/kubernetes/cmd/kubelet ./manifests)

$(KUBERNETES): tools/kubelet/go.mod tools/kubelet/go.sum
	$(call build_tools,kubelet,$(KUBERNETES_LDFLAGS),$(addprefix k8s.io/kubernetes/cmd/kube-,apiserver controller-manager scheduler))

$(LINTERS): tools/lint/go.mod tools/lint/go.sum
	$(call build_tools,lint)

# What makes packages, and what goes into them and into the image: the list of modules, the certificates.
$(DISTRIBUTION): tools/dist/go.mod tools/dist/go.sum $(wildcard tools/dist/*/*.go)
	$(call build_tools,dist)
	cd tools/dist && $(GO) build -o $(@D)/ ./sbom ./cacerts

# The readers that are not ours: small programs over umoci's unpacker and go-containerregistry's validator.
ORACLE_FILES := $(shell find test/oracle -name '*.go' -o -name 'go.*' 2>/dev/null)

$(ORACLES): $(ORACLE_FILES)
	@mkdir -p $(@D)
	@echo "building oracles"
	cd test/oracle && $(GO) build -o $(@D)/ ./...
	@touch $@

.PHONY: tools
tools: $(CONTAINERD2) $(CONTAINERD1) $(REGISTRY) $(CRANE) $(BUILDKIT) $(DISTRIBUTION) ## Build what the end-to-end tests use (once)

.PHONY: oracles
oracles: $(ORACLES) ## Build the independent readers of test/oracle

# One after another, whatever -j says: builds of daemons take memory, and tests come after what they need. (Make before 4.4
# knows this for all targets only.) What may run side by side asks for it.
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
