# The only entry points; .ci/run calls the same ones.

CARGO ?= cargo
export WAYPOST_BIN ?= $(or $(CARGO_TARGET_DIR),target)/release/waypost

.PHONY: help build lint deny test plugins typescript check-plugins fuzz-smoke docs-check system ci

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## the relay, optimised
	$(CARGO) build --release --locked

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

deny: ## licences, bans and sources of all dependencies; advisories where their database can be had
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "cargo-deny is not installed: cargo install --locked cargo-deny"; exit 1; fi
	$(CARGO) deny --locked check licenses bans sources
	@if $(CARGO) deny fetch >/dev/null 2>&1; then $(CARGO) deny --locked check advisories; \
		else echo "advisory database out of reach: not checked"; fi

test: ## all tests
	$(CARGO) test --workspace --locked

plugins: ## rebuild the shipped plugins' components (needs the wasm32-unknown-unknown target)
	scripts/build-plugins

typescript: ## types and rules of the plugins in TypeScript (needs Node)
	scripts/typescript check
	scripts/typescript test

check-plugins: ## every shipped component was made from the sources beside it
	scripts/check-plugins

fuzz-smoke: ## half a minute for each fuzz target (needs a C++ compiler)
	fuzz/run all 30

docs-check: ## rustdoc without warnings, links and pages that the house rules ask for
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items --locked
	$(CARGO) test --locked --test it house::

system: build ## crash, reload, full disk, Postfix: the built relay as a process (root and Postfix for some)
	tests/system/all

ci: ## what a change must pass
	.ci/run
