# SPDX-License-Identifier: BSD-3-Clause
#
# make qemu-test   from a kernel tree to a verified /proc/kheaders.tar.xz
# make test        every test of the project
# Both first install what is missing. qemu-test passes ARGS to kheaders.

GO ?= go
ARGS ?=

# Go 1.21 is the first that fetches the version that go.mod names.
GO_VERSION := $(shell $(GO) env GOVERSION 2>/dev/null | sed 's/.*\(go1[0-9.]*\).*/\1/')
ifneq ($(shell printf 'go1.21\n%s\n' '$(GO_VERSION)' | sort -V | head -n 1),go1.21)
$(error Go 1.21 or newer is needed, and this is $(or $(GO_VERSION),none): see https://go.dev/dl/)
endif
GOLANGCI_LINT = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# kheaders builds without a C compiler, since it may have to install one.
KHEADERS = CGO_ENABLED=0 $(GO) run ./harness/cmd/kheaders

# These tests run in the guest. qemu-test and the end-to-end tests put them there.
GUEST_PACKAGES = /tests/(guest|faults/[^/]*|benchmodule/guest)$$

.PHONY: qemu-test
qemu-test:
	$(KHEADERS) test --install $(ARGS)

.PHONY: test
test: DOCTOR = --mode dkms --bpf --checks
test: deps unit e2e
	$(GO) test -v -count=1 -parallel 2 -timeout 20m -run '$(FEW_FAULTS)' ./tests/faults

# The faults that make test runs; test-faults runs all of them.
FEW_FAULTS = ^TestFaults$$/.*/^(flipped-byte|no-tests|unreported|poweroff|hang|boot-hang|qemu-missing|init-oops)$$

# Everything but real kernels. vet gets -race so that it shares the tests' compiled
# packages. harness/verdict has a run of its own for its coverage. Without GORACE,
# the race detector makes each program sleep for a second before it exits.
.PHONY: unit
unit: export GORACE = atexit_sleep_ms=0
unit:
	$(GO) vet -race ./...
	$(GO) test -race -vet=off $$($(GO) list ./... | grep -Ev '$(GUEST_PACKAGES)|/tests(/faults|/kvm)?$$|/harness/verdict$$')
	$(GO) test -race -vet=off -cover ./harness/verdict | awk '{ print } /coverage: / { sub("%", "", $$5); found = $$5 >= 95 } END { exit !found }'

# How many per cent of the statements the fast tests reach in the packages that put
# a run together; less than 85 fails. The scripts count too, because the kheaders
# that they run is the test binary.
COVERED = harness harness/cmd/kheaders harness/internal/pipeline harness/internal/stage harness/internal/mode harness/internal/output
comma := ,
space := $(subst x,,x x)
.PHONY: cover
cover: deps
	@mkdir -p out
	$(GO) test -count=1 -coverpkg=$(subst $(space),$(comma),$(COVERED:%=./%)) -coverprofile=out/cover.out $(COVERED:%=./%)
	@awk -F '[: ]' -v missing=$(words $(COVERED)) '\
		NR > 1 { block = $$1 ":" $$2; statements[block] = $$(NF-1); if ($$NF > 0) reached[block] = 1 } \
		END { \
			for (block in statements) { \
				package = block; sub("/[^/]*$$", "", package); \
				all[package] += statements[block]; if (block in reached) some[package] += statements[block]; \
			} \
			for (package in all) { \
				percent = 100 * some[package] / all[package]; printf "%5.1f %% %s\n", percent, package; \
				if (percent < 85) low = 1; \
				missing--; \
			} \
			exit low || missing \
		}' out/cover.out

# Real kernels in real QEMU.
.PHONY: e2e
e2e:
	$(GO) test -v -count=1 -parallel 2 -timeout 80m ./tests

# Everything that can go wrong, one by one, each with its verdict. Writes the table
# out/faults.txt.
.PHONY: test-faults
test-faults: DOCTOR = --profile clang --bpf
test-faults: deps
	$(GO) test -v -count=1 -parallel 2 -timeout 40m ./tests/faults $(ARGS)

# A working KVM on a host without one: QEMU emulates a processor with
# virtualization, and kheaders runs in that machine. Takes some minutes and fetches
# Debian packages.
.PHONY: test-kvm
test-kvm: deps
	$(GO) test -v -count=1 -timeout 2h ./tests/kvm $(ARGS)

# What other people's machines do to us, for real: modules in the header layouts of
# six distributions, two kernels built from nothing with and without an environment
# full of variables that hurt, and go install with an empty home. Takes half an hour.
.PHONY: test-field
test-field: DOCTOR = --mode dkms
test-field: deps
	$(GO) test -v -count=1 -timeout 2h -run '^Test(Layouts|HurtfulEnvironment|GoInstall)$$' ./tests -args -layouts -environment -install

# The same healthy boots, again and again. ARGS="-n 50 -load 4" boots 50 times with
# the processors kept busy.
.PHONY: soak
soak: deps
	$(GO) run ./tests/soak $(ARGS)

.PHONY: lint
lint:
	$(GOLANGCI_LINT) run ./...

.PHONY: fmt
fmt:
	$(GOLANGCI_LINT) fmt ./...

# How close a cell's boot is to the floor, the same kernel with an init that exits
# at once. The two alternate in one run.
.PHONY: bench-boot
bench-boot: deps
	$(GO) run ./tests/benchboot $(ARGS)

# Compares kheaders archive with the kernel's own generator, which needs cpio, and
# with xz alone. They alternate in one run of a quarter of an hour.
.PHONY: bench-archive
bench-archive: deps
	$(GO) run ./tests/bencharchive $(ARGS)

# A minute for each fuzz target.
FUZZTIME ?= 1m
.PHONY: fuzz
fuzz:
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

# Checks the generated C with checkpatch, W=1, sparse and clang, and runs it in
# kernels that clang hardened, and in one of an older series. make test does the
# first two.
.PHONY: check-c
check-c:
	@$(KHEADERS) doctor --install --quiet --checks --profile clang --bpf
	$(GO) test -v -count=1 -timeout 30m -run 'Test(C|Builtin)$$' ./tests -args -check-c

# Compares our module with the kernel's own kheaders.ko: size, memory, time, reads.
.PHONY: bench-module
bench-module: deps
	$(GO) run ./tests/benchmodule $(ARGS)

.PHONY: deps
deps:
	@$(KHEADERS) doctor --install --quiet $(DOCTOR)

.PHONY: clean
clean:
	rm -rf out
