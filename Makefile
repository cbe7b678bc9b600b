# The targets a person needs: demo build test bench lint. Each sets up what it needs.

.DEFAULT_GOAL := help
.PHONY: help demo build test bench lint clean setup-%

# Go's own installation folder counts also when it is not in PATH.
export GO ?= $(or $(shell command -v go),/usr/local/go/bin/go)

VERSION ?= $(or $(shell git describe --tags --dirty 2>/dev/null),0.0.0-dev)
COMMIT  ?= $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

demo: setup-demo build ## See it work: a simulated camera, a broker, the agent, the picture. ARGS="--for 20s"
	bin/edge-agent demo $(ARGS)

build: setup-build ## Build bin/edge-agent
	$(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/edge-agent ./cmd/edge-agent

test: setup-test lint ## Check the code and run every test
	$(GO) test -race ./...

# With -race also here, the slow part, compiling the binding to GStreamer, is done once for lint and test.
lint: setup-build ## Format, vet and staticcheck
	@echo gofumpt; unformatted=$$($(GO) tool gofumpt -l .); [ -z "$$unformatted" ] || { echo "not formatted, run go tool gofumpt -w .:"; echo "$$unformatted"; exit 1; }
	$(GO) vet -race ./...
	GOFLAGS="$$GOFLAGS -race" $$($(GO) tool -n staticcheck) ./...

bench: setup-bench build ## Measure against GStreamer and ffmpeg; prints a table
	$(GO) test -run '^$$' -bench . -benchtime 1x ./test/...

clean: ## Remove what was built
	rm -rf bin dist

setup-build setup-demo setup-test setup-bench: setup-%:
	@packaging/setup.sh build $*
