# The targets a person needs: demo build test bench lint. Each sets up what it needs.

.DEFAULT_GOAL := help
.PHONY: help demo build test bench lint fuzz clean setup-%

# First the Go that set-up fetched because the machine's is too old, last the one that is installed but not in PATH.
export PATH := $(CURDIR)/bin/toolchain/bin:$(PATH):/usr/local/go/bin

VERSION ?= $(or $(shell git describe --tags --dirty 2>/dev/null),0.0.0-dev)
COMMIT  ?= $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
FUZZTIME ?= 10s
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

demo: setup-demo build ## See it work: a simulated camera, a broker, the agent, the picture. ARGS="--for 20s"
	bin/edge-agent demo $(ARGS)

build: setup-build ## Build bin/edge-agent
	go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/edge-agent ./cmd/edge-agent

test: setup-test lint ## Check the code and run every test
	go test -race ./...

# With -race also here, the slow part, compiling the binding to GStreamer, is done once for lint and test.
lint: setup-build ## Format, vet and staticcheck
	@echo gofumpt; unformatted=$$(go tool gofumpt -l .); [ -z "$$unformatted" ] || { echo "not formatted, run go tool gofumpt -w .:"; echo "$$unformatted"; exit 1; }
	go vet -race ./...
	GOFLAGS="$$GOFLAGS -race" $$(go tool -n staticcheck) ./...

bench: setup-bench build ## Measure against GStreamer and ffmpeg; prints a table. 5 minutes; ARGS=-quick only tries it
	go run ./test/bench $(ARGS)

fuzz: setup-build ## Fuzz every parser for a short time. FUZZTIME=10s
	@grep -ro --include=*_test.go '^func Fuzz[A-Za-z]*' . | sed 's/[^/]*:func / /' | while read -r folder target; do \
		echo "$$folder $$target"; \
		go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$folder" || exit 1; \
	done

clean: ## Remove what was built
	rm -rf bin dist

setup-build setup-demo setup-test setup-bench: setup-%:
	@packaging/setup.sh build $*
