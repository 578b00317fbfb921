# Every command of the project; CI calls the same targets.
.PHONY: tools check lint deny book test demo demo-chart cluster cluster-down model fuzz crash cases interop render bench bench-render bench-records tenants ui counts image krew release generate engine engine-test
CARGO ?= cargo
# Where `make tools` installs.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
ENGINE = cd engine && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o
XTASK = $(CARGO) build --quiet --workspace --bins && target/debug/xtask

check: ## the inner loop, under a minute: format, clippy, unit tests, the model
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	SMALL=1 $(CARGO) test --workspace --quiet --lib --bins --test model --test kstatus --test layers

lint: ## what CI refuses: format, clippy, documentation, dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	test -z "$$(gofmt -l engine)" && cd engine && CGO_ENABLED=0 go vet ./...
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --quiet
	@$(MAKE) --no-print-directory deny

deny: ## dependencies: licences, sources, banned crates, known vulnerabilities
	@$(CARGO) deny --version >/dev/null || { echo "cargo-deny is missing: make tools" >&2; exit 1; }
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources
	@if $(CARGO) deny --locked fetch db; then \
		$(CARGO) deny --locked check advisories; \
	elif [ "$(ADVISORIES)" = required ]; then \
		echo "ADVISORIES=required, and the advisory database cannot be fetched" >&2; exit 1; \
	else \
		echo "NOT CHECKED: known vulnerabilities, since the advisory database cannot be fetched." \
			"ADVISORIES=required makes this an error." >&2; \
	fi

book: ## the pages of docs/ as a book in docs/book; a broken link fails
	@for tool in mdbook hyperlink; do \
		command -v $$tool >/dev/null || { echo "$$tool is missing: make tools" >&2; exit 1; }; \
	done
	mdbook build docs
	hyperlink --check-anchors docs/book

tools: ## the programs that `make lint` and `make book` need, of these versions
	$(CARGO) install --quiet --locked --debug cargo-deny@0.20.2 hyperlink@0.3.2
	$(CARGO) install --quiet --locked --debug --no-default-features mdbook@0.5.4

test: ## everything, on clusters of its own; what each program took
	@$(XTASK) test

demo: ## an install and an upgrade on a real cluster, the controller killed in the middle
	@$(XTASK) demo

demo-chart: ## the same with the guide's chart; its notes, its test, a rollback
	@$(XTASK) demo-chart

cluster: ## a local cluster; eval "$$(make -s cluster)" points kubectl at it
	@$(XTASK) cluster

cluster-down: ## stops it
	@$(XTASK) cluster-down

model: ## the model check of the core: configurations, states, properties
	$(CARGO) test --workspace --test model -- --nocapture

# How many random inputs of each kind.
CASES ?= 20000

fuzz: ## what tenants can write, changed at random: CASES=1000000 for a night
	PROPTEST_CASES=$(CASES) $(CARGO) test --workspace --test hostile -- --nocapture

crash: ## the controller killed after each of its requests, and other faults
	$(CARGO) test --workspace --test crash -- --nocapture

cases: ## Helm's behaviour, case by case, beside the real Helm on the same cluster
	$(CARGO) test --workspace --test cases -- --nocapture

interop: ## Helm 3 and Helm 4 on the operator's releases, and the operator on theirs
	$(CARGO) test --workspace --test interop -- --nocapture

render: ## what is rendered of charts, beside the real Helm on the same cluster
	$(CARGO) test --workspace --test render -- --nocapture

bench: ## ours, Helm and the least that a client can do, on one control plane; writes docs/src/benchmarks.md
	$(CARGO) build --release --package controller --package floor
	$(ENGINE) $(abspath $(TARGET))/release/releaselifecycle-engine .
	$(CARGO) test --workspace --test bench -- --nocapture --ignored
	$(MAKE) bench-render

bench-render: ## how long rendering takes, beside `helm template`
	$(CARGO) test --workspace --test render -- --nocapture --ignored

bench-records: ## ten thousand of Helm's records in one namespace: taking over, starting again
	$(CARGO) build --release --package controller
	$(CARGO) test --workspace --test records -- --nocapture --ignored

ui: ## what a person does with the page of `kubectl lifecycle ui`, in Chromium; makes the pictures of docs/src/ui.md, and docs/src/night.md
	npm ci --prefix tests/ui --no-audit --no-fund
	$(CARGO) test --workspace --test ui -- --nocapture --ignored

counts: ## API writes for a hook and for a release; memory of the controller, idle and after work
	$(CARGO) build --release --package controller
	ALONE=1 $(CARGO) test --workspace --test counts -- --nocapture

# How long the attack lasts.
MINUTES ?= 10

tenants: ## two tenants on the image as shipped: one does its worst for MINUTES, the other upgrades
	MINUTES=$(MINUTES) PROFILE=$(PROFILE) $(CARGO) test --workspace --test deployed -- --nocapture --ignored

# Any tool that takes a Containerfile: `BUILDER="docker build"`, `BUILDER="podman build"`.
BUILDER ?= buildah bud
IMAGE ?= releaselifecycle-controller:dev
PROFILE ?= release
TARGET = $(or $(CARGO_TARGET_DIR),target)
PROGRAM = $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/releaselifecycle-controller

image: ## the operator's image, on Linux: IMAGE=registry/name:tag, BUILDER="docker build"
	$(CARGO) rustc --profile $(PROFILE) --package controller --bin releaselifecycle-controller \
		-- -C target-feature=+crt-static
	install -D $(PROGRAM) $(TARGET)/image/releaselifecycle-controller
	$(ENGINE) $(abspath $(TARGET))/image/releaselifecycle-engine .
	$(BUILDER) --file Containerfile --tag $(IMAGE) $(TARGET)/image

# The archives of other platforms, made there by the same target, may lie beside.
KREW = $(TARGET)/krew
PLATFORM ?= linux-$(if $(filter aarch64,$(shell uname -m)),arm64,amd64)

krew: ## the command line for krew: an archive for this machine, and the manifest: URL=https://…
	$(CARGO) build --release --package cli
	mkdir -p $(KREW)
	tar --create --gzip --file $(KREW)/kubectl-lifecycle-$(PLATFORM).tar.gz \
		--directory $(abspath $(TARGET))/release kubectl-lifecycle --directory $(CURDIR) LICENSE
	$(XTASK) krew --url $(URL) $(KREW) > $(KREW)/lifecycle.yaml

# Where the files of a release are made, and where its image and its archives will be.
DIST = $(abspath $(TARGET))/dist
REGISTRY ?= registry.example/releaselifecycle
URL ?= https://downloads.example/v$(VERSION)
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
RELEASED = $(REGISTRY)/releaselifecycle-controller
# The pinned kubectl and Helm of `make cluster`, or your own.
PINNED = PATH="$(abspath $(TARGET))/cluster/bin:$$PATH"

release: ## the files of a release in target/dist: REGISTRY=registry/path URL=https://…
	rm -rf $(DIST)
	mkdir -p $(DIST)
	$(MAKE) image IMAGE=$(RELEASED):$(VERSION)
	buildah push --quiet $(RELEASED):$(VERSION) \
		oci-archive:$(DIST)/releaselifecycle-controller-$(VERSION)-$(PLATFORM).tar:$(RELEASED):$(VERSION)
	$(MAKE) krew KREW=$(DIST) URL=$(URL)
	for mode in multi-tenant single-tenant; do \
		$(PINNED) kubectl kustomize deploy/$$mode \
			| sed 's|image: releaselifecycle-controller:dev|image: $(RELEASED):$(VERSION)|' \
			> $(DIST)/install-$$mode.yaml; \
	done
	rm -rf $(TARGET)/chart
	cp -r deploy/chart $(TARGET)/chart
	sed -i -e 's|^  repository: .*|  repository: $(RELEASED)|' -e 's|^  tag: .*|  tag: "$(VERSION)"|' \
		$(TARGET)/chart/values.yaml
	$(PINNED) helm package --version $(VERSION) --app-version $(VERSION) --destination $(DIST) $(TARGET)/chart
	$(CARGO) cyclonedx --quiet --format json --override-filename sbom
	for part in controller cli; do mv crates/$$part/sbom.json $(DIST)/sbom-$$part.cdx.json; done
	rm -f crates/*/sbom.json tests/sbom.json
	cd engine && go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0 \
		mod -json -licenses -output $(DIST)/sbom-engine.cdx.json
	$(XTASK) release $(DIST)

engine: ## the program that renders and fetches charts, beside the others in target/debug
	$(ENGINE) $(abspath $(TARGET))/debug/releaselifecycle-engine .

engine-test: ## the engine's own tests
	cd engine && CGO_ENABLED=0 go test ./...

generate: ## what is generated from the code: crds/, and parts of deploy/ and docs/
	$(XTASK) generate
