SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
GO ?= go

# Where the coverage of each kind of test goes.
COVER := .cover
# How long each fuzz target runs. Given as a time, go test can fail because it was
# up in the middle of an input.
FUZZTIME ?= 10000x
# Packages, or trees of them, of whose statements at least 80 % must be covered.
COVERED := replica/... cache/... fs/...
# How many tests of a package run at once where most of them wait: for a mount, for
# a server, for time to pass.
AT_ONCE := 12
# Trees of Go that users don't run: tests, what helps them, and tools for development.
NO_PRODUCT := integration bench replica/storetest replica/mock internal/covercheck
# What a release is built for. Elsewhere than on Linux, it mounts nothing.
PLATFORMS := linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 freebsd-amd64 freebsd-arm64
# What runs a command of Go for the platform in the shell's variable platform.
GO_THERE = CGO_ENABLED=0 GOOS=$${platform%-*} GOARCH=$${platform\#*-} $(GO)
UNIT_PACKAGES = $$($(GO) list ./... | grep -vE '/(integration|bench)(/|$$)')

# A checkout whose revision git can't tell is built without it.
ifneq ($(shell git rev-parse HEAD >/dev/null 2>&1 && echo ok),ok)
export GOFLAGS := $(GOFLAGS) -buildvcs=false
endif

.PHONY: help demo build check test unit fuzz integration compat soak tools deps bench lint cover lines release reproducible clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## Mount a sample replica, show what is in it, and unmount
	@.ci/deps fusermount3:fuse3 sqlite3:sqlite3 sqldiff:sqlite3-tools || [[ $$(id -u) == 0 || -n $$(command -v fusermount3) ]]
	bin/ltxfs demo --unattended

build: ## Build bin/ltxfs
	$(GO) build -o bin/ltxfs ./cmd/ltxfs

check: ## Build, vet, and run the unit tests, in less than a minute
	$(GO) build ./...
	$(GO) vet ./...
	$(GO) test -p 4 $(UNIT_PACKAGES)

test: ## Install what the tests need, and run all tests
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory tools
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory fuzz
	@$(MAKE) --no-print-directory integration
	@$(MAKE) --no-print-directory compat

unit: ## Run the tests that need nothing but Go and a C compiler
	rm -rf $(COVER)/unit
	mkdir -p $(COVER)/unit
	CGO_ENABLED=1 $(GO) build -race ./... # compiling SQLite beside tests would hold them up
	CGO_ENABLED=1 $(GO) test -race -coverpkg=./... -p 4 -timeout 20m $(UNIT_PACKAGES) -args -test.gocoverdir=$(CURDIR)/$(COVER)/unit

fuzz: ## Run each fuzz target for FUZZTIME, by default 10,000 inputs
	@$(GO) test -list '^Fuzz' ./replica/... ./internal/... | \
		awk '/^Fuzz/ { target[n++] = $$1 } $$1 == "ok" { while (n) print $$2, target[--n] }' | \
		xargs -L 1 -P "$$(nproc)" bash -c \
			'$(GO) test $$0 -run "^$$" -fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x -parallel 1'

integration: ## Run the tests that mount the built binary, S3 servers among what it mounts
	rm -rf $(COVER)/integration
	mkdir -p $(COVER)/integration
	LTXFS_TOOLS=$(CURDIR)/.tools/bin LTXFS_COVERDIR=$(CURDIR)/$(COVER)/integration \
		$(GO) test ./integration/... -p 1 -parallel $(AT_ONCE) -timeout 40m -count=1
	# Once more with every cache on, and small, what has bytes compared while things change and fail.
	LTXFS_TOOLS=$(CURDIR)/.tools/bin LTXFS_COVERDIR=$(CURDIR)/$(COVER)/integration \
		$(GO) test ./integration ./integration/remote -p 1 -parallel $(AT_ONCE) -timeout 40m -count=1 \
		-run 'TestProperty|TestStates|TestReplacedUnderReader|TestNeverMixed|TestFaults|TestVersions|TestStreams' -skip Budget -args -caches
	cd integration/contrib && $(GO) test ./... -count=1

compat: tools ## Run Litestream's own code on the clients
	cd integration/litestreamcompat && LTXFS_TOOLS=$(CURDIR)/.tools/bin $(GO) test ./... -parallel $(AT_ONCE) -timeout 20m -count=1

soak: tools ## Replicate through a mount for 30 minutes in which things go wrong
	LTXFS_TOOLS=$(CURDIR)/.tools/bin $(GO) test ./integration/remote -run '^TestSoak$$' -count=1 -v -timeout 45m -args -soak=30m

tools: ## Install the programs of integration/tools.txt into .tools/bin
	@.ci/tools

deps: ## Install the Debian packages that the tests need
	@.ci/deps fusermount3:fuse3 rsync:rsync sqlite3:sqlite3 sqldiff:sqlite3-tools /usr/bin/python3:python3 xxd:xxd gcc:gcc gcc:libc6-dev sshfs:sshfs /usr/lib/openssh/sftp-server:openssh-sftp-server mergerfs:mergerfs \
		promtool:prometheus /usr/sbin/logrotate:logrotate mmdebstrap:mmdebstrap systemd-nspawn:systemd-container shellcheck:shellcheck

bench: tools ## Measure ltxfs beside its peers and limits; with QUICK=1 in less than 5 minutes, ROWS=… in part, BASELINE=… beside another ltxfs
	@.ci/deps fusermount3:fuse3 s3fs:s3fs sqlite3:sqlite3 gcc:gcc gcc:libc6-dev
	@.ci/vfs
	LTXFS_TOOLS=$(CURDIR)/.tools/bin $(GO) test ./bench -run '^$$' -bench . -benchtime 1x -timeout 0 -args \
		$(if $(QUICK),-quick) $(if $(ROWS),-rows=$(ROWS)) $(if $(PEERS),-peers=$(PEERS)) \
		$(if $(ROUNDS),-rounds=$(ROUNDS)) $(if $(BASELINE),-baseline=$(abspath $(BASELINE)))

lint: tools ## Check the format of the code, and look for mistakes
	@unformatted=$$(gofmt -l .); \
	if [[ -n $$unformatted ]]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	.tools/bin/staticcheck ./...
	@for platform in $(filter-out linux-amd64,$(PLATFORMS)); do \
		echo "vet for $$platform"; \
		$(GO_THERE) vet $$($(GO_THERE) list -deps ./cmd/ltxfs | grep ^github.com/ltxfs/ltxfs/); \
	done
	@for module in integration/litestreamcompat integration/contrib; do \
		(cd $$module && $(GO) vet ./... && $(CURDIR)/.tools/bin/staticcheck ./...); \
	done

cover: ## Check what the last make test covered
	$(GO) run ./internal/covercheck -min 80 -out $(COVER)/cover.out \
		-data $(COVER)/unit,$(COVER)/integration $(COVERED)

lines: ## Count the lines of the product
	@find . -name '*.go' -not -name '*_test.go' -not -path './.*' $(NO_PRODUCT:%=-not -path './%/*') -exec cat {} + | wc -l

release: ## Build a release of the commit, for PLATFORMS, in dist: ltxfs, packages, what is in each, and checksums
	@.ci/tools nfpm cyclonedx-gomod
	.ci/release $(PLATFORMS)

reproducible: ## Build a release twice, in two directories and with nothing cached, and compare the bytes
	@.ci/tools nfpm cyclonedx-gomod
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	for n in 1 2; do \
		git clone -q . "$$dir/$$n"; \
		LTXFS_TOOLS=$(CURDIR)/.tools/bin GOCACHE="$$dir/cache$$n" "$$dir/$$n/.ci/release" $(PLATFORMS); \
	done; \
	diff -r "$$dir/1/dist" "$$dir/2/dist"; \
	cat "$$dir/1/dist/SHA256SUMS"

clean: ## Remove everything that make has made, but the installed programs
	rm -rf bin dist $(COVER) bench.out
