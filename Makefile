# znodefs: `make run` for three mounts of one tree, `make test` for every test, `make help` for the rest.
#
# Objects go to build/, with SANITIZE=address,undefined to build/address-undefined/, those with the fault MUTANT=name to
# build/mutant-name/: no two kinds of build ever share a file.

JOBS      ?= $(shell nproc)
MAKEFLAGS += --no-print-directory
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(JOBS)
endif
SHELL     := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:
.SUFFIXES:

PREFIX  ?= /usr/local
DESTDIR ?=
PEERS   ?= 3
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
WERROR  ?= 1
# The pytest of the distribution, whatever else is called python3 on PATH.
PYTHON  := /usr/bin/python3

comma := ,
PLAIN := build$(if $(SANITIZE),/$(subst $(comma),-,$(SANITIZE)))
BUILD := $(PLAIN)$(if $(MUTANT),/mutant-$(MUTANT))

# ---- packages ----
DEPS_BUILD := gcc libc6-dev pkg-config libfuse3-dev fuse3 libuv1-dev libmsgpack-dev libxxhash-dev uthash-dev libssl-dev
DEPS_BUILD += libarchive-dev libzstd-dev
DEPS_TEST  := clang libclang-rt-dev libcmocka-dev python3 python3-pytest attr busybox e2fsprogs rsync git sqlite3 vim-tiny less openssl
DEPS_TEST  += valgrind iproute2
DEPS_LINT  := clang-format clang-tidy cppcheck binutils
DEPS       := $(DEPS_BUILD) $(DEPS_TEST)

# Those of $(1) that are not installed; none where there is no dpkg.
missing = $(if $(shell command -v dpkg-query),$(filter-out $(shell dpkg-query -W -f='$${db:Status-Status}=$${Package} ' \
	$(1) 2>/dev/null | sed -n 's/ /\n/gp' | sed -n 's/^installed=//p'),$(1)))
install_missing = if [ -n "$(1)" ]; then mount-helpers/install-packages $(1); fi

MISSING := $(if $(filter-out clean stop format help,$(or $(MAKECMDGOALS),all)),$(call missing,$(DEPS)))

# ---- flags ----
PACKAGES   := fuse3 libuv msgpack libxxhash libzstd openssl
# Asked of pkg-config once, and only when something is compiled: it may have to be installed first.
PKG_CFLAGS  = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES)))$(PKG_CFLAGS)
PKG_LIBS    = $(eval PKG_LIBS := $(shell pkg-config --libs $(PACKAGES)))$(PKG_LIBS)
WARNINGS   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
CFLAGS     ?= -O2 -g
VERSION    := $(shell sed -n 's/^## \[\?\([0-9][0-9.]*\).*/\1/p' CHANGELOG.md 2>/dev/null | head -n 1)
CPPFLAGS   += -I. -D_GNU_SOURCE -DFUSE_USE_VERSION=314 -DZNODEFS_VERSION='"$(or $(VERSION),0.0)"' $(PKG_CFLAGS)
ALL_CFLAGS  = -std=gnu11 $(CFLAGS) $(WARNINGS) -pthread
ifneq ($(filter true 1,$(CI) $(WERROR)),)
ALL_CFLAGS += -Werror
endif
ifneq ($(SANITIZE),)
ALL_CFLAGS += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
endif
ifneq ($(MUTANT),)
CPPFLAGS   += -DZNODEFS_MUTANT_$(MUTANT)
endif
LDLIBS      = -Wl,--as-needed $(PKG_LIBS) -pthread

# ---- sources ----
object = $(patsubst %.c,$(BUILD)/%.o,$(1))
# Of a mutant only what has its fault is compiled anew.
MUTATED := $(if $(MUTANT),$(shell grep -lw ZNODEFS_MUTANT_$(MUTANT) store/*.c consensus/*.c))
mutated = $(foreach s,$(1),$(if $(filter $(s),$(MUTATED)),$(BUILD),$(PLAIN))/$(s:.c=.o))
# A unit test that includes nothing of fs or the simulator is built without it.
including = $(if $(1),$(shell grep -lE '^\#include "($(2))/' $(1)))

STORE     := $(wildcard store/*.c)
CHECK     := $(wildcard store/check/*.c)
CONSENSUS := $(wildcard consensus/*.c)
FS        := $(wildcard fs/*.c)
ZNODE     := $(wildcard mount-helpers/znode/*.c)
SIM       := $(wildcard tests/sim/*.c)
# What of consensus runs without libuv.
PURE      := $(wildcard consensus/zab*.c consensus/replica*.c consensus/packet*.c)
UNITS     := $(wildcard tests/unit/test_*.c)
FUZZ      := $(wildcard tests/fuzz/*.c)
FUZZ_MAIN := $(wildcard tests/fuzz/fuzz_*.c)
SIM_MAIN  := $(if $(SIM),$(shell grep -lE '^int main\>' $(SIM)))
CONFORMANCE := $(wildcard tests/conformance/*.c)
LEAKS     := $(if $(findstring address,$(SANITIZE)),tests/leaks.c)
THREADS   := $(if $(findstring thread,$(SANITIZE)),tests/threads.c)
FIXTURES  := $(filter-out $(UNITS),$(wildcard tests/unit/*.c))
UNITS_FS        := $(call including,$(UNITS),fs)
UNITS_SIM       := $(call including,$(UNITS),tests/sim)
unit_binary = $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(1))

SOURCES := $(STORE) $(CHECK) $(CONSENSUS) $(FS) $(ZNODE) $(SIM) $(FIXTURES) $(UNITS) $(CONFORMANCE) \
           $(wildcard tests/bench/*.c) $(FUZZ) $(LEAKS) $(THREADS)
BINARIES := $(if $(wildcard fs/main.c),$(BUILD)/znodefs) $(BUILD)/znodefs-check $(BUILD)/znode
TEST_BINARIES := $(call unit_binary,$(UNITS)) $(if $(SIM_MAIN),$(BUILD)/znodefs-sim) \
                 $(if $(CONFORMANCE),$(BUILD)/conformance) build/tests/faulty_disk.so

.PHONY: all run stop demo test test-binaries lint format install deps clean help
all: $(BINARIES) compile_commands.json

help:
	@echo 'make              build build/znodefs, build/znode and build/znodefs-check'
	@echo 'make run|stop     three peers mounted at run/1 run/2 run/3 (PEERS=1: one); take them down'
	@echo 'make demo         the tour as a story, under a minute'
	@echo 'make test         every test; the last line counts them'
	@echo 'make fuzz         fuzz targets without end (TARGET=packet, ...; ARGS=, of libFuzzer)'
	@echo 'make threads      what has more than one thread, under the thread sanitizer'
	@echo 'make bench        what it costs, beside what the disk, the network and FUSE cost'
	@echo 'make lint|format  every check of the sources; clang-format'
	@echo 'make install      into $$DESTDIR$$PREFIX'
	@echo 'make deps         install the packages that are missing'
	@echo 'SANITIZE=address,undefined builds into a folder of its own; WERROR=0 forgives warnings'

deps:
	@$(call install_missing,$(call missing,$(DEPS) $(DEPS_LINT)))

.PHONY: deps-missing deps-lint
deps-missing:
	@$(call install_missing,$(MISSING))
deps-lint:
	@$(call install_missing,$(call missing,$(DEPS_LINT)))

# ---- building ----
# One short line for each file; V=1 shows the commands.
Q   := $(if $(V),,@)
say  = $(if $(V),,@echo '  $(1) $(2)')

$(BUILD)/%.o: %.c Makefile | $(if $(MISSING),deps-missing)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

define archive
$(BUILD)/lib$(1).a: $(call object,$(2))
	$(Q)rm -f $$@; $$(AR) rcs $$@ $$^
endef
$(eval $(call archive,store,$(STORE)))
$(eval $(call archive,consensus,$(CONSENSUS)))
$(eval $(call archive,fs,$(filter-out fs/main.c,$(FS))))
$(eval $(call archive,fixtures,$(FIXTURES)))
$(eval $(call archive,sim,$(filter-out $(SIM_MAIN),$(SIM))))

link = $(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ -Wl,--start-group $^ -Wl,--end-group $(LDLIBS)

$(BUILD)/znodefs: $(call object,$(FS) $(CONSENSUS) $(STORE) $(LEAKS) $(THREADS))
	$(call say,LD,$@)
	$(Q)$(link)
# These need less than the others, and are linked against no more.
$(BUILD)/znodefs-check: $(call object,$(CHECK)) $(BUILD)/libstore.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(BUILD)/znode: $(call object,$(ZNODE) $(LEAKS)) $(BUILD)/libstore.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -larchive
$(BUILD)/znodefs-sim: $(call mutated,$(SIM) $(PURE) $(STORE))
	$(call say,LD,$@)
	$(Q)$(link) $(addprefix @,$(wildcard tests/sim/sim.ldflags))
$(BUILD)/conformance: $(call object,$(CONFORMANCE))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
# It goes below any build's daemon: without sanitizers.
build/tests/faulty_disk.so: tests/faulty_disk.c Makefile | $(if $(MISSING),deps-missing)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu11 $(CFLAGS) $(WARNINGS) -Werror -fPIC -shared -o $@ $<
ifneq ($(MUTANT),)
.PHONY: plain-sim
plain-sim:
	+@$(MAKE) MUTANT= $(PLAIN)/znodefs-sim
$(filter-out $(BUILD)/%,$(call mutated,$(SIM) $(PURE) $(STORE))): plain-sim ;
endif
$(call unit_binary,$(UNITS_FS)): $(BUILD)/libfs.a
$(call unit_binary,$(UNITS_SIM)): $(BUILD)/libsim.a
$(call unit_binary,$(UNITS)): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(BUILD)/libfixtures.a $(BUILD)/libconsensus.a \
                             $(BUILD)/libstore.a $(call object,$(THREADS))
	$(call say,LD,$@)
	$(Q)$(link) -lcmocka

-include $(patsubst %.o,%.d,$(call object,$(SOURCES)))

test-binaries: $(BINARIES) $(TEST_BINARIES)

# For editors and clang-tidy.
json_entry = {"directory": "$(CURDIR)", "file": "$(1)", "command": "$(subst ",\",$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c $(1))"}
compile_commands.json: Makefile $(sort $(dir $(SOURCES))) | $(if $(MISSING),deps-missing)
	@printf '%s\n' '[' $(foreach s,$(SOURCES),'$(subst ','\'',$(call json_entry,$(s)))$(if $(filter-out $(lastword $(SOURCES)),$(s)),$(comma))') ']' > $@

# ---- running ----
run: all
	@BUILD=$(BUILD) mount-helpers/ensemble run $(PEERS)
stop:
	@mount-helpers/ensemble stop
demo: all
	@BUILD=$(BUILD) mount-helpers/ensemble demo

# ---- testing ----
ASAN := address,undefined
# The sanitizers' build is made first: make's own lines then stand before those of the tests.
test: test-binaries
	@rm -f build/test-summary
	+@$(if $(SANITIZE),,$(MAKE) SANITIZE=$(ASAN) test-binaries)
	+@$(if $(SANITIZE),,$(MAKE) fuzz-build)
	+@$(if $(SANITIZE),,$(MAKE) SANITIZE=thread thread-binaries)
	@$(PYTHON) tests/run-tests $(BUILD) $(if $(SANITIZE),,build/$(subst $(comma),-,$(ASAN)))

ifneq ($(SIM_MAIN),)
.PHONY: sim
sim: $(BUILD)/znodefs-sim
	$(BUILD)/znodefs-sim $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)
endif
ifneq ($(wildcard tests/sim/mutants),)
.PHONY: mutants
mutants:
	+@tests/sim/mutants $(ARGS)
endif

# What has more than one thread, under the thread sanitizer; all of it with SANITIZE=thread.
.PHONY: threads thread-binaries
thread-binaries: $(BUILD)/znodefs $(addprefix $(BUILD)/tests/test_,peer peer_stream)
threads:
	+@$(MAKE) SANITIZE=thread thread-binaries
	@$(PYTHON) tests/run-tests --threads build/thread

# Fuzz targets: clang's build of everything, in a folder of its own. FUZZ_BUILD calls this Makefile again with it.
FUZZ_BUILD    := build/fuzz
FUZZ_BINARIES := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(FUZZ_MAIN))
$(eval $(call archive,fuzz,$(filter-out $(FUZZ_MAIN),$(FUZZ))))
$(FUZZ_BINARIES): $(BUILD)/%: $(BUILD)/tests/fuzz/%.o $(addprefix $(BUILD)/lib,fuzz.a fs.a sim.a consensus.a store.a) \
                 $(call object,$(LEAKS))
	$(call say,LD,$@)
	$(Q)$(link) -fsanitize=fuzzer $(addprefix @,$(wildcard tests/fuzz/$(*F).ldflags))
.PHONY: fuzz fuzz-binaries fuzz-build
fuzz-binaries: $(FUZZ_BINARIES)
fuzz-build:
	+@$(MAKE) BUILD=$(FUZZ_BUILD) CC=clang SANITIZE=fuzzer-no-link,$(ASAN) fuzz-binaries
fuzz: fuzz-build
	@$(PYTHON) tests/fuzz/run $(FUZZ_BUILD) $(TARGET) $(ARGS)

BENCH := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))
-include $(patsubst %.c,$(BUILD)/%.d,$(wildcard tests/bench/*.c))
$(BENCH): $(BUILD)/bench/%: $(BUILD)/tests/bench/%.o $(BUILD)/libconsensus.a $(BUILD)/libstore.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(link)
.PHONY: bench
bench: all $(BENCH)
	@tests/bench/bench $(BUILD) $(ARGS)

# ---- the sources' own ----
lint: all compile_commands.json | deps-lint
	@$(PYTHON) tests/lint $(BUILD)
format: | deps-lint
	clang-format -i $$(find fs consensus store mount-helpers tests -name '*.[ch]')

install: all
	install -D -m 755 $(BUILD)/znodefs "$(DESTDIR)$(PREFIX)/bin/znodefs"
	install -D -m 755 $(BUILD)/znodefs-check "$(DESTDIR)$(PREFIX)/bin/znodefs-check"
	install -D -m 755 $(BUILD)/znode "$(DESTDIR)$(PREFIX)/bin/znode"

clean:
	@mount-helpers/ensemble stop
	rm -rf build compile_commands.json tests/.pytest_cache .pytest_cache $$(find tests -name __pycache__)
	@[ ! -e run/data ] || echo 'run/ still holds what was written to the mounts; to delete that too: rm -r run'
