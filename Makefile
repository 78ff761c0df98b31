# Each target does all its own set-up: system packages where it may install them, else it prints the command that does.

.PHONY: help demo test lint bench build dashboards

help: ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Serve two repositories with two tokens, and print commands to paste that show what they can do
	@sh tests/setup.sh git
	cargo run --quiet -- demo $(ARGS)

test: ## Run every test
	@sh tests/setup.sh git nginx fcgiwrap prometheus
	@sh tests/clients/install.sh
	cargo test

lint: ## Check format and lints
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

bench: ## Time the decision
	cargo bench --bench decision

build: ## Build the binary, optimized: target/release/portcullis
	cargo build --release

dashboards: ## Draw the dashboards anew, from five minutes of load: docs/images
	@sh tests/setup.sh git prometheus python3
	CARGO_PROFILE_TEST_OPT_LEVEL=2 PORTCULLIS_DASHBOARDS=$${SECONDS_OF_LOAD:-300} cargo test --test it dashboards::live -- --nocapture
