# A thin front for Meson.  `make` builds into build/; `make demo` and `make test` start from nothing.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

SCENARIO ?=
SEED ?=
SEEDS ?= 1000
T ?=
KINDS ?=
TRIES ?= 3
JOBS ?= 8

.PHONY: all demo test quick sim matrix fuzz bench tidy format clean

all: build/build.ninja
	@ninja -C build --quiet | { grep -v 'no work to do' || true; }

build/build.ninja:
	@tools/install build
	@meson setup build >/dev/null
	@echo 'building; the first time takes about a minute' >&2

demo:
	@tools/install demo
	@$(MAKE) --no-print-directory all
	@python3 test/lab/lab.py demo

test:
	@tools/install test
	@tools/test

quick: all tidy
	@meson test -C build --suite unit --no-rebuild --print-errorlogs

sim: all
	@build/test/sim/sim_test $(if $(SCENARIO),--scenario $(SCENARIO)) \
	  $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

# All kinds of sites: the page in docs/ is written anew.  With KINDS="…": shown only.
matrix:
	@tools/install test
	@$(MAKE) --no-print-directory all
	@test/lab/lab.py matrix --tries $(TRIES) --jobs $(JOBS) $(or $(KINDS),--page docs/nat-matrix)

fuzz:
	@tools/install test
	@[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dfuzz=true \
	  -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-fuzz --quiet
	@tools/fuzz build-fuzz 60 $(T)

bench:
	@tools/install test
	@$(MAKE) --no-print-directory all
	@bench/relay.py build/knotholed

tidy: all
	@tools/tidy build

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	@rm -rf build build-asan build-fuzz
