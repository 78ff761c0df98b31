# Each target does all its own set-up: system packages where it may install them, else it prints the command that does.

.PHONY: help demo test lint bench build install deb

help: ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Serve two repositories with two tokens, and print commands to paste that show what they can do
	@sh tests/setup.sh git
	cargo run --quiet -- demo $(ARGS)

test: ## Run every test
	@sh tests/setup.sh git nginx fcgiwrap strace systemd-analyze
	@sh tests/clients/install.sh
	cargo test

lint: ## Check format and lints
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

bench: ## Time the decision
	cargo bench --bench decision

build: ## Build the binary, optimized: target/release/portcullis
	cargo build --release

install: build ## Install the binary, completions, manual pages and systemd units: below DESTDIR, PREFIX is /usr/local
	sh deploy/prepare.sh target/release/portcullis
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" sh deploy/install.sh target/release/portcullis

deb: build ## Build the Debian package: target/debian/portcullis_*.deb
	@sh deploy/debian/build.sh
