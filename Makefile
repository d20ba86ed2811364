# The targets of tined. `make help` lists them; `make check` is what CI runs.

ifneq ($(shell uname -s),Linux)
$(error tined is built and run on Linux only, and this is $(shell uname -s))
endif

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The Go that is installed builds everything: no other is downloaded.
export GOTOOLCHAIN := local

VERSION := $(shell v=$$(git describe --tags --dirty 2>/dev/null) || v=v0.1.0-dev; echo "$${v#v}")
ARCH    ?= $(shell go env GOARCH)
CONFIG  ?= configs/dist/tined.hcl
LDFLAGS := -s -w -X main.version=$(VERSION)

# Sizes of the long targets. ROUNDS counts rounds of every server, SECONDS_EACH is one of them.
ROUNDS       ?= 15
SECONDS_EACH ?= 3
FUZZTIME     ?= 30s
BENCHFLAGS   ?=
HOSTILEFLAGS ?=
LABFLAGS     ?=

# The parts of make soak.
SOAK ?= bench storm reload vote scale hang master kills upgrade handoff rollback assault replace sqlite hostile fuzz

.DEFAULT_GOAL := help
.PHONY: rqlited pocketbase help run build deps test race lint fuzz bench lab bars hostile soak deb rpm container release test-packages lint-packages check clean programs
.NOTPARALLEL: # the tests and the benchmark want the machine for themselves

help: ## list the targets
	@echo "tined $(VERSION)"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: build ## build bin/tined and serve the example configuration (CONFIG=FILE for another)
	@exec bin/tined run -c "$(CONFIG)"

build: ## build bin/tined
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/tined ./cmd/tined

deps: ## install what the tests and the benchmark need (the only target that calls apt)
	@scripts/deps.sh

test: deps ## run all tests
	@scripts/modules.sh
	go test -timeout 5m ./...
	go -C packaging/tools test ./...

# Every process of the race detector sleeps a second at its end, by default.
race: export GORACE = atexit_sleep_ms=0
race: deps ## run all tests under the race detector, with the debug build's assertions
	go test -race -timeout 8m -tags tined_debug ./...

lint: deps ## gofmt, go vet, staticcheck, shellcheck
	@scripts/lint.sh

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@scripts/fuzz.sh "$(FUZZTIME)"

bench: deps build programs ## compare with nginx and with the limit (ROUNDS=15 SECONDS_EACH=3 BENCHFLAGS=-case=…)
	bin/bench -rounds $(ROUNDS) -seconds $(SECONDS_EACH) -blocked $(BENCHFLAGS)

lab: ## measure what the design rests on, and write docs/lab.md (LABFLAGS=-quick, or -only=…)
	@mkdir -p bin
	CGO_ENABLED=0 go build -o bin/ ./scripts/lab
	bin/lab $(LABFLAGS)

bars: deps build programs ## the bars, scaled to about 10 s each: fails on gross breakage only
	@scripts/bars.sh

hostile: deps build programs ## attack a server in every way that we know (HOSTILEFLAGS='-seconds 5 -attack slow')
	bin/hostile $(HOSTILEFLAGS)

soak: deps build programs ## the bars at full size, for hours, or a part of them (SOAK='reload scale kills')
	@ROUNDS=$(ROUNDS) SECONDS_EACH=$(SECONDS_EACH) scripts/soak.sh $(SOAK)

check: test lint test-packages bars race ## what CI runs

deb: ## build dist/tined_VERSION_ARCH.deb (VERSION=1.2.3 ARCH=amd64)
	@packaging/build.sh deb "$(VERSION)" "$(ARCH)"

rpm: ## build dist/tined-VERSION-1.MACHINE.rpm (VERSION=1.2.3 ARCH=amd64)
	@packaging/build.sh rpm "$(VERSION)" "$(ARCH)"

container: ## build the container image, and dist/tined_VERSION_ARCH.{docker,oci}.tar of it (VERSION=1.2.3 ARCH=amd64)
	@packaging/container/build.sh "$(VERSION)" "$(ARCH)"

release: ## build what is published of the tag that is checked out, in dist/VERSION/, signed by KEY
	@packaging/release.sh "$(KEY)"

test-packages: deps ## install, upgrade, break and remove the packages under a systemd of their own
	@packaging/test/run.sh
	@packaging/container/test.sh

lint-packages: ## lintian, rpmlint, the manual, and twice the same bytes (VERSION=1.2.3)
	@packaging/lint.sh "$(VERSION)"

rqlited: ## build bin/rqlited, the node of a cluster that the tests of engine = "rqlite" start when it is there (2 minutes)
	@scripts/rqlite.sh

# It needs a newer Go than the rest, which the Go command fetches for it alone.
pocketbase: export GOTOOLCHAIN = go1.27.0
pocketbase: ## build bin/pocketbase, what the benchmark compares databases with when it is there
	@mkdir -p bin
	cd scripts/pocketbase && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../../bin/pocketbase .

clean: ## remove what was built, but for releases
	rm -rf bin dist/*.deb dist/*.rpm dist/*.tar

# The programs under scripts/ that the long targets run.
programs:
	@mkdir -p bin
	CGO_ENABLED=0 go build -o bin/ ./scripts/bench ./scripts/hostile ./scripts/limit ./scripts/sleeper ./scripts/storm ./scripts/storm/unruly
