# The targets a person needs: demo build test test-hardware bench lint. Each sets up what it needs.

.DEFAULT_GOAL := help
.PHONY: help demo build cross test test-hardware hardware-shell bench lint lint-packaging vulnerabilities sbom container fuzz mutate deb test-packages clean setup-%

# First the Go that set-up fetched because the machine's is too old, last the one that is installed but not in PATH.
export PATH := $(CURDIR)/bin/toolchain/bin:$(PATH):/usr/local/go/bin

VERSION ?= $(or $(shell git describe --tags --dirty 2>/dev/null),0.0.0-dev)
COMMIT  ?= $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
FUZZTIME ?= 10s
# go test itself prints a package only when all before it are done.
GOTEST  ?= go tool gotestsum --format standard-quiet --
# Tools that only some need, each of one version, checked against Go's checksum database.
ACTIONLINT  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
CYCLONEDX   := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
IMAGE ?= edge-agent
BUILD   := github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build
LDFLAGS := -s -w -X $(BUILD).Version=$(VERSION) -X $(BUILD).commit=$(COMMIT) -X github.com/edge-agent/edge-agent/decode.Build=$(VERSION)+$(COMMIT)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

demo: setup-demo build ## See it work: a simulated camera, a broker, the agent, the picture. ARGS="--for 20s"
	bin/edge-agent demo $(ARGS)

# The agent is Go alone and runs on a box that lacks GStreamer; only the renderer is linked with it.
build: setup-build ## Build bin/edge-agent and bin/edge-agent-renderer
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/edge-agent
	go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/edge-agent-renderer

cross: setup-build ## Build the agent for the systems where its tools work: bin/edge-agent-SYSTEM-ARCHITECTURE
	@for target in linux-arm64 darwin-arm64 windows-amd64; do echo "$$target"; \
		CGO_ENABLED=0 GOOS=$${target%-*} GOARCH=$${target#*-} go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/edge-agent-$$target ./cmd/edge-agent || exit 1; \
	done

# Go's ten minutes for a package are not enough on a busy machine. Most tests wait for something, so that three packages fit two cores.
test: setup-test lint ## Check the code and run every test
	@echo "test: every package with the race detector, the slow ones first; each is printed when it is done. 6 to 13 minutes on two cores."
	$(GOTEST) -race -timeout 20m -p 3 ./test/bench ./cmd/edge-agent ./gst ./ingest ./...

# In there one test at a time: they measure. And no -race, which the virtual machine cannot.
test-hardware: setup-hardware build ## Test decoders and display on virtual hardware. ARGS="-run Unplug -v"
	@test/virtual-hardware/run true; case $$? in \
	0) $(MAKE) -s -C test/virtual-hardware/va/driver check BUILD=$(CURDIR)/bin/va-check && \
		go test -count=1 -timeout 19m -p 1 -tags hardware -exec '$(CURDIR)/test/virtual-hardware/run' $(ARGS) ./test/virtual-hardware/... ;; \
	77) echo "test-hardware: skipped" ;; \
	*) exit 1 ;; \
	esac

hardware-shell: setup-hardware build ## A shell on the virtual hardware
	@test/virtual-hardware/run bash

# With -race also here, the slow part, compiling the binding to GStreamer, is done once for lint and test.
lint: setup-build ## Format, vet and staticcheck
	@echo gofumpt; unformatted=$$(go tool gofumpt -l .); [ -z "$$unformatted" ] || { echo "not formatted, run go tool gofumpt -w .:"; echo "$$unformatted"; exit 1; }
	go vet -race -tags hardware,packages ./...
	GOFLAGS="$$GOFLAGS -race" $$(go tool -n staticcheck) -tags hardware,packages ./...

lint-packaging: setup-build setup-lint ## Check containers, recipes, workflows, shell scripts and go.mod
	go mod tidy -diff
	shellcheck -S warning $$(git ls-files '*.sh' .ci test/virtual-hardware/run packaging | xargs grep -lE '^#!(/bin/sh|/bin/bash|.*bashio)')
	go run $(ACTIONLINT)
	go test -count=1 ./test/elsewhere

vulnerabilities: setup-build ## Look for known vulnerabilities in what the code calls
	go run $(GOVULNCHECK) -tags hardware ./...

sbom: setup-build ## Write what both programs are made of: dist/edge-agent.cdx.json and -renderer (CycloneDX). In a clone, not a worktree
	@mkdir -p dist
	CGO_ENABLED=0 go run $(CYCLONEDX) app -json -licenses -packages -output dist/edge-agent.cdx.json -main cmd/edge-agent .
	go run $(CYCLONEDX) app -json -licenses -packages -output dist/edge-agent-renderer.cdx.json -main cmd/edge-agent-renderer .

# After make deb. The renderer in it is the one of the package.
container: ## Build the container image with podman. IMAGE=edge-agent
	podman build --format docker --ignorefile packaging/container/Containerfile.containerignore \
		--build-arg TARGETARCH="$$(dpkg --print-architecture)" -f packaging/container/Containerfile -t '$(IMAGE)' .

bench: setup-bench build ## Measure against GStreamer, ffmpeg and others; prints a table. 18 minutes; ARGS=-quick only tries it
	go run ./test/bench $(ARGS)

mutate: setup-test ## Put faults into the code and list those that no test notices. Hours; ARGS="-sample 20 mqtt ingest/lag.go"
	@go run ./test/mutate $(or $(ARGS),ingest ingest/mkv decode mqtt mqtt/contract cmd/edge-agent $(patsubst %,cmd/edge-agent/internal/%,agent capture config simulator web))

# Go before 1.27 may report the end of the time itself as a failure: "context deadline exceeded" and no input (go.dev/issue/75804).
fuzz: setup-build ## Fuzz every parser for a short time. FUZZTIME=10s
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	grep -ro --include=*_test.go '^func Fuzz[A-Za-z]*' . | sed 's/[^/]*:func / /' | while read -r folder target; do \
		echo "$$folder $$target"; \
		go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$folder" >"$$log" 2>&1; result=$$?; \
		cat "$$log"; \
		[ $$result = 0 ] || grep -A 1 -e '^--- FAIL' "$$log" | grep -qx '    context deadline exceeded' || exit 1; \
	done

# Debian's names: of the architecture, where another one than this machine's is cross-compiled, and of a release to test with.
RELEASE ?= bookworm
HOSTARCH := $(shell dpkg --print-architecture 2>/dev/null)
ARCH ?= $(HOSTARCH)

deb: setup-deb$(if $(filter-out $(HOSTARCH),$(ARCH)),-$(ARCH)) ## Build the Debian package dist/edge-agent_VERSION_ARCH.deb. ARCH=arm64
	@packaging/deb/build '$(ARCH)' '$(VERSION)' '$(LDFLAGS)'

# As root: it makes systems of its own, in /var/tmp/edge-agent-roots. The first time it downloads some 400 MB.
test-packages: setup-packages deb ## Install, start, upgrade and remove the package in a fresh Debian. RELEASE=trixie ARGS="-run Lifecycle"
	@[ '$(HOSTARCH)' != amd64 ] || $(MAKE) deb ARCH=arm64
	RELEASE=$(RELEASE) go test -count=1 -v -timeout 40m -tags packages $(ARGS) ./test/packages

clean: ## Remove what was built
	rm -rf bin dist

setup-build setup-demo setup-test setup-bench setup-hardware setup-lint setup-deb setup-deb-arm64 setup-packages: setup-%:
	@packaging/setup.sh build $*
