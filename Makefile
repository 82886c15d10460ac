# raftkv. `make` alone prints what there is.

CARGO ?= cargo
BIN := target/release

.DEFAULT_GOAL := help
.PHONY: help build run test verify fix golden bench-cluster test-clients

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
	    awk -F '\t' '{printf "  make %-16s %s\n", $$1, $$2}'

build: ## Build target/release/raftkv and raftkv-cli
	$(CARGO) build --release --locked --bins

run: build ## Start three nodes on 127.0.0.1, data under data/; Ctrl-C stops them
	@$(BIN)/raftkv dev

test: build ## Run every test of the project
	RAFTKV_BIN_DIR=$(CURDIR)/$(BIN) $(CARGO) test --workspace --locked --no-fail-fast

verify: ## Check format, lints, docs and house rules; changes nothing
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	$(CARGO) test --locked --test tidy

fix: ## Rewrite what format and lints can mend
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

golden: ## Rewrite the golden scripts' output, then show what changed
	UPDATE_GOLDENFILES=1 $(CARGO) test --test raft scripts
	git --no-pager diff --stat -- tests/scripts

bench-cluster: build ## Measure three real nodes beside the floor that the machine sets
	$(CARGO) run --release --locked -p raftkv-bench --bin bench-cluster

test-clients: build ## Try stock gRPC clients and an HTTP/2 conformance suite (installs them)
	tests/clients/run.sh
