# Each target does all its own set-up: system packages where it may install them, else it prints the command that does.

.PHONY: help demo test lint bench bench-decision bench-million soak build install deb dashboards

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Serve two repositories with two tokens, and print commands to paste that show what they can do
	@sh tests/setup.sh git
	cargo run --quiet -- demo $(ARGS)

test: ## Run every test
	@sh tests/setup.sh git nginx fcgiwrap strace systemd-analyze prometheus
	@sh tests/clients/install.sh
	cargo test

lint: ## Check format and lints
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

bench: ## Measure beside nginx, auth_request and HAProxy, about 12 minutes; ARGS=--help tells more, ARGS=--quick takes 2 minutes
	@sh tests/setup.sh git nginx fcgiwrap haproxy wrk h2load openssl python3
	cargo build --release --bin portcullis --example authorizer --example relay
	@python3 bench/run.py $(ARGS)

bench-decision: ## Time the decision alone, in memory
	cargo bench --bench decision

bench-million: ## A gateway with a million tokens: its start, its memory, and requests beside reloads; three minutes
	@sh tests/setup.sh git nginx fcgiwrap h2load openssl python3
	cargo build --release --bin portcullis
	@python3 bench/million.py $(ARGS)

soak: ## Ten minutes of git and REST traffic while policy changes each second; ARGS=--help tells more
	@sh tests/setup.sh git nginx fcgiwrap openssl python3
	cargo build --release --bin portcullis
	@python3 bench/soak.py $(ARGS)

build: ## Build the binary, optimized: target/release/portcullis
	cargo build --release

install: build ## Install the binary, completions, manual pages and systemd units: below DESTDIR, PREFIX is /usr/local
	sh deploy/prepare.sh target/release/portcullis
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" sh deploy/install.sh target/release/portcullis

deb: build ## Build the Debian package: target/debian/portcullis_*.deb
	@sh deploy/debian/build.sh

dashboards: ## Draw the dashboards anew, from five minutes of load: docs/images
	@sh tests/setup.sh git prometheus python3
	CARGO_PROFILE_TEST_OPT_LEVEL=2 PORTCULLIS_DASHBOARDS=$${SECONDS_OF_LOAD:-300} cargo test --test it dashboards::live -- --nocapture
