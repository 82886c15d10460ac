# raftkv. `make` alone prints what there is.

CARGO ?= cargo
BIN := target/release

.DEFAULT_GOAL := help
.PHONY: help build run test verify fix golden bench bench-scaling bench-regress bench-growth bench-wal \
    bench-stages flamegraph bench-peers bench-report bench-cluster bench-snapshot soak-snapshot test-replace test-clients \
    chaos chaos-smoke chaos-full chaos-budget chaos-partial chaos-digests mutants explore

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
	    awk -F '\t' '{printf "  make %-16s %s\n", $$1, $$2}'

build: ## Build target/release/raftkv and raftkv-cli
	$(CARGO) build --release --locked --bins

run: build ## Start three nodes on 127.0.0.1, data under data/; Ctrl-C stops them
	@$(BIN)/raftkv dev

test: build chaos-smoke ## Run every test of the project
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

BENCH := $(CARGO) run --release --locked -q -p raftkv-bench --bin
DRIFT ?= 30
# One thread, ahead of whatever else runs, where that is allowed: docs/performance.md says why.
AHEAD = $(shell chrt -f 5 true 2> /dev/null && echo chrt -f 5)

.PHONY: build-bench-local
build-bench-local:
	$(CARGO) build --release --locked -q -p raftkv-bench --bin bench-local

bench: build-bench-local ## Measure commits of three members in one process, one at a time
	$(AHEAD) $(BIN)/bench-local local

bench-scaling: build-bench-local ## The same for 3, 5 and 7 members with 1, 64 and 1,024 puts outstanding
	$(AHEAD) $(BIN)/bench-local scaling

bench-regress: build-bench-local ## Compare with the committed baselines: fails when worse by DRIFT percent
	$(AHEAD) $(BIN)/bench-local regress --drift '$(DRIFT)' $(if $(SLOW_NS),--slow-ns '$(SLOW_NS)')

bench-growth: build ## Measure what a put costs with ever more keys, log and connections
	$(BENCH) bench-growth

bench-wal: ## Measure the log's append beside the other ways to append durably
	$(BENCH) bench-wal

bench-stages: ## Show where the time of a commit goes, as three nodes in one process record it
	$(BENCH) bench-stages

flamegraph: ## Draw the same with a profiler in the process: target/flamegraph.svg
	$(BENCH) bench-stages --features flamegraph -- --flamegraph target/flamegraph.svg \
	    --json target/flamegraph.json

bench-cluster: build ## Measure three real nodes beside the floor that the machine sets
	$(BENCH) bench-cluster -- --json bench/results/bench_cluster.json

bench-peers: build ## Measure raftkv beside etcd (installs it), raft-rs, openraft and tonic
	@which etcd > /dev/null || apt-get install -y etcd-server || \
	    echo "etcd is absent: Debian has it as etcd-server"
	$(BENCH) bench-peers
	$(CARGO) build --release --locked -q --manifest-path bench/libraries/Cargo.toml \
	    --target-dir target/libraries
	$(CARGO) build --release --locked -q -p raftkv-bench --bin bench-gateway
	$(AHEAD) $(BIN)/bench-gateway
	$(AHEAD) target/libraries/release/raftkv-bench-libraries bench/results/bench_libraries.json

bench-report: ## Draw docs/figures and the table in docs/performance.md from bench/results
	$(BENCH) bench-report

bench-snapshot: ## Measure what snapshots cost a node under load, restarts, and catching up
	$(CARGO) run --release --locked -p raftkv-bench --bin bench-snapshot

soak-snapshot: ## Overwrite keys for MINUTES; the data directory must stay within its limit
	$(CARGO) run --release --locked -p raftkv-bench --bin bench-snapshot -- \
	    --keys 200000 --soak-minutes '$(MINUTES)'

test-replace: build ## Replace each member in turn under five minutes of load, with real processes
	RAFTKV_BIN_DIR=$(CURDIR)/$(BIN) REPLACE_SECONDS=300 \
	    $(CARGO) test --locked -p raftkv --test e2e -- members::every_member --nocapture

test-clients: build ## Try stock gRPC clients and an HTTP/2 conformance suite (installs them)
	tests/clients/run.sh

CHAOS := target/chaos/raftkv-chaos
CHAOS_ARGS = $(if $(BASE_SEED),--base-seed '$(BASE_SEED)') $(if $(JOBS),--jobs '$(JOBS)')
BUDGET ?= 540
SCENARIOS ?= 500
SEED ?= 1
MINUTES ?= 30

.PHONY: build-chaos
build-chaos:
	$(CARGO) build --profile chaos --locked -p raftkv-chaos

chaos-smoke: build-chaos ## Run 20 scenarios of the four presets of faults
	$(CHAOS) smoke $(CHAOS_ARGS)

chaos-full: build-chaos ## Run 500 scenarios
	$(CHAOS) full $(CHAOS_ARGS)

chaos-budget: build-chaos ## Run up to SCENARIOS within BUDGET seconds, from BASE_SEED, with JOBS
	$(CHAOS) budget --budget '$(BUDGET)' --scenarios '$(SCENARIOS)' $(CHAOS_ARGS)

chaos: build-chaos ## Replay a scenario: SEED=n
	$(CHAOS) seed '$(SEED)'

chaos-partial: build-chaos ## Cut links so that some nodes still see a majority, as broke others
	$(CHAOS) partial

chaos-digests: build-chaos ## Compare seeds of a debug and a release build, on three runs
	$(CARGO) build --locked -p raftkv-chaos
	target/debug/raftkv-chaos digests > target/chaos/digests.debug
	$(CHAOS) digests > target/chaos/digests.release
	$(CHAOS) digests | cmp - target/chaos/digests.release
	cmp target/chaos/digests.debug target/chaos/digests.release

mutants: ## Plant each known bug, see which checker finds it, write docs/mutants.md
	$(CARGO) build --profile chaos --locked -p raftkv-chaos --features planted-bugs \
	    --target-dir target/mutants
	target/mutants/chaos/raftkv-chaos mutants --out docs/mutants.md
	$(CARGO) test --locked -p raftkv --features planted-bugs --test raft planted
	$(CARGO) test --locked -p raftkv --features planted-bugs --test planted
	$(CARGO) test --locked -p raftkv-wal --features planted-bugs
	$(CARGO) test --locked -p raftkv-chaos --features planted-bugs --test explore --test partial \
	    broken

explore: ## Search all behaviours of three FSMs within each bound (minutes; EXPLORE="reads --cut 9999")
	$(CARGO) run --profile chaos --locked -p raftkv-chaos --bin explore -- $(EXPLORE)
