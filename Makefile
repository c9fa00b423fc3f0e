# `make demo` and `make test` do all set-up themselves: a virtual environment in .venv from the locked requirements, then
# the data plane, built by maturin beside the Python package. A second call finds both and builds nothing.
# Set PYTHON to choose the interpreter and CARGO_TARGET_DIR to share Rust's build directory.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build protos docs demo demo-consul demo-jaeger demo-check test real faults attack full conformance lint fuzz bench bench-consul bench-telemetry wheel lock all

# Everything runs in the environment, and one Rust build directory serves all targets.
own_bin := $(CURDIR)/.venv/bin
export PATH := $(own_bin):$(subst $(own_bin):,,$(PATH)):$(HOME)/.cargo/bin
export VIRTUAL_ENV := $(CURDIR)/.venv
export CARGO_TARGET_DIR ?= $(CURDIR)/target

environment := .venv/.locked
crates := $(CARGO_TARGET_DIR)/.crates
extension := sidecar/_dataplane.abi3.so
rust := $(shell find dataplane/src protos -mindepth 1) dataplane/build.rs dataplane/Cargo.toml Cargo.toml Cargo.lock
# One profile for tests, demo and lint: what one of them has built serves the others.
cargo_flags := --release --locked

# Opens the recipe of every target that a person calls; says at the end how long it took.
timed = @SECONDS=0; trap 'code=$$?; echo "make $@: $${SECONDS} s"; exit $$code' EXIT;
# What has real sockets, clocks and processes meets machines that stand still for seconds. A test that fails is tried again,
# twice; every failed try is shown with its traceback, and from the seventh of a run on none is forgiven.
again := --reruns 2 --reruns-delay 2 --max-suite-reruns 6 --rerun-show-tracebacks
quietly := $(MAKE) --no-print-directory --silent
prerequisites := PATH="$${PATH\#$(own_bin):}" requirements/prerequisites
# Two at a time: what the data plane is built on is compiled while .venv is set up.
built := $(prerequisites) >/dev/null; $(quietly) --jobs 2 $(extension)

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## set up .venv and build the data plane
	$(timed) $(built)

protos: ## regenerate sidecar/wire from protos/
	$(timed) $(quietly) $(environment); \
	python -m grpc_tools.protoc --proto_path=protos --python_out=. --pyi_out=. protos/sidecar/wire/*.proto

docs: ## write again what of docs/ is made from the code
	$(timed) WRITE_DOCS=1 cargo test $(cargo_flags) --quiet --lib -- the_table_in_docs_is_current

demo: ## run the example shop; stop it with Ctrl-C
	$(timed) $(built); \
	python examples/shop/demo.py

demo-consul: ## run the example shop on real Consul and watch a key move its calls; stop it with Ctrl-C
	$(timed) $(built); \
	command -v consul >/dev/null || tests/real/install.sh consul; \
	python examples/shop/demo_consul.py

demo-jaeger: ## run the example shop with real Jaeger (and Consul, if it is there); stop it with Ctrl-C
	$(timed) $(built); \
	command -v jaeger >/dev/null || tests/real/install.sh jaeger; \
	python examples/shop/demo_jaeger.py

demo-check: ## run the example shop without a terminal and check what it does
	$(timed) $(built); \
	python examples/shop/check.py

test: ## all tests that need Python and Rust only
	$(timed) $(built); \
	echo 'in five parts, two at a time; each is shown when it has ended'; \
	$(quietly) --jobs 2 --output-sync=target $(parts_of_test)

# The longest first. Two at a time: cargo compiles its tests while proxies run. All but those need the module, so it is built
# before.
parts_of_test := test-rust test-e2e test-fidelity test-unit test-demo
.PHONY: $(parts_of_test)
test-rust:
	$(timed) unset MAKEFLAGS; cargo test $(cargo_flags) --quiet
test-e2e: $(extension)
	$(timed) python -m pytest --quiet $(again) --ignore tests/e2e/fidelity tests/e2e
test-fidelity: $(extension)
	$(timed) python -m pytest --quiet $(again) tests/e2e/fidelity
test-unit: $(extension)
	$(timed) python -m pytest --quiet tests/unit tests/seam
test-demo: $(extension)
	$(timed) python examples/shop/check.py

real: ## tests against real servers and suites, which it installs; each parser on half a million changed inputs
	$(timed) $(built); \
	FUZZ_SEED=10 FUZZ_ROUNDS=500000 cargo test $(cargo_flags) --quiet --lib -- random_bytes; \
	tests/real/install.sh; \
	python -m pytest --quiet $(again) tests/real

faults: ## endpoints that fail in every way, and what callers see of it; the long form of `make full` has Envoy beside us
	$(timed) $(built); \
	python -m pytest --quiet tests/real/test_faults.py

attacks := $(addprefix tests/real/test_,attacks.py strictness.py crowds.py posture.py)

attack: ## floods, crowds, messages of two readings, TLS, against ours and nginx, HAProxy, Envoy and nghttpx, and their tables
	$(timed) $(built); \
	tests/real/install.sh attack; \
	python -m pytest --quiet $(attacks); \
	maturin develop --profile dist --locked --quiet; \
	python -m pytest --quiet -m long $(attacks)

full: ## the long forms: real, fuzz, all benches
	$(timed) $(quietly) real; for large in spire jaeger attack; do tests/real/install.sh $$large; done; \
	maturin develop --profile dist --locked --quiet; \
	python -m pytest --quiet -m long tests/real; \
	LONG_BODY_MIB=1024 python -m pytest --quiet tests/e2e/test_stalled.py -k long_answer; \
	$(quietly) fuzz; $(quietly) bench; $(quietly) bench-consul; $(quietly) bench-telemetry

lint: ## formats, lints, types, layers, licences, the stub, the wire files
	$(timed) $(prerequisites) lint >/dev/null; $(built); \
	cargo fmt --all --check; \
	cargo clippy $(cargo_flags) --quiet --all-targets -- -D warnings; \
	cargo clippy $(cargo_flags) --quiet --all-targets --features python -- -D warnings; \
	cargo test $(cargo_flags) --quiet --lib -- layers; \
	cargo deny --log-level error check licenses bans sources; \
	ruff check --quiet; \
	ruff format --check --quiet; \
	mypy; \
	python -m mypy.stubtest sidecar._dataplane; \
	lint-imports --no-cache; \
	python -m pytest --quiet tests/architecture

fuzz: ## every parser on random input, for minutes; FUZZ_ROUNDS and FUZZ_SEED choose how much and which
	$(timed) $(built); \
	FUZZ_ROUNDS=$${FUZZ_ROUNDS:-5000000} cargo test $(cargo_flags) --quiet --lib -- random_bytes; \
	python -m pytest --quiet --timeout 600 --hypothesis-profile long tests/unit/config

conformance: ## the suites and peers of others for HTTP, gRPC and WebSocket, and their table
	$(timed) $(built); \
	tests/real/install.sh; \
	python -m pytest --quiet $(addprefix tests/real/test_,h2spec.py grpc_interop.py conformance.py websocket.py matrix.py)

bench: ## measure against nghttpx, HAProxy and Envoy, side by side
	$(timed) $(built); \
	maturin develop --profile dist --locked --quiet; \
	python -m benchmarks

bench-consul: ## measure the control side on real Consul: changes, start, memory, a large mesh beside Envoy
	$(timed) $(built); \
	tests/real/install.sh consul; \
	maturin develop --profile dist --locked --quiet; \
	python -m benchmarks.consul

bench-telemetry: ## measure what spans, log lines, scrapes and collectors that fail cost, beside Envoy and HAProxy
	$(timed) $(built); \
	maturin develop --profile dist --locked --quiet; \
	python -m benchmarks.telemetry

wheel: ## build the distribution into dist/
	$(timed) $(quietly) $(environment); \
	maturin build --locked --out dist

lock: ## bring requirements/dev.lock up to pyproject.toml (needs uv; UPGRADE=--upgrade renews all pins)
	$(timed) command -v uv >/dev/null || { echo 'missing: uv; get it: pip install uv' >&2; exit 1; }; \
	uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command "make lock" --group build --group lint --group test pyproject.toml \
	  --output-file requirements/dev.lock

all: ## lint, test, real
	$(timed) $(quietly) lint; $(quietly) test; $(quietly) real

$(environment): requirements/dev.lock
	@python=$$($(prerequisites)); \
	echo "setting up .venv with $$python"; \
	"$$python" -m venv --clear .venv; \
	python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements/dev.lock; \
	touch $@

# The crates that take longest and need no Python. maturin compiles them with the same features and finds them here.
# cargo is no part of make's count of jobs, here and wherever MAKEFLAGS is unset.
$(crates): Cargo.lock
	@unset MAKEFLAGS; \
	cargo build $(cargo_flags) --quiet $(addprefix --package ,aws-lc-rs h2 mimalloc prost regex tokio-rustls x509-parser); \
	touch $@

# An editable build: maturin puts the module beside the Python sources and the command `sidecar` into .venv.
$(extension): $(environment) $(rust) pyproject.toml | $(crates)
	@unset MAKEFLAGS; \
	maturin develop --release --locked; \
	touch $@
