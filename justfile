# The verbs of the tool, and the chores of the checkout. `just` alone lists them.

set positional-arguments

root := justfile_directory()
manifest := root / "Cargo.toml"
# Cargo is quiet once there is a program; the first time it has minutes of work to show.
quiet := if path_exists(root / "target/release/eryx-build") == "true" { "--quiet" } else { "" }
# What a verb prints names the commands as they are given here.
tool := "ERYX_INVOKED_AS=just cargo run --release " + quiet + " --manifest-path " + quote(manifest) + " -p eryx-build --"

# List what can be done.
[group('help')]
default:
    @just --list --unsorted --justfile {{ quote(justfile()) }}

# Install what a build needs and this machine lacks.
[group('help')]
setup:
    @sh {{ quote(root / '.ci/setup') }}

# Build a component with Python and the named packages into `dist/`.
[group('build')]
[no-cd]
bundle *PKG:
    @{{ tool }} bundle "$@"

# Show the steps of a build: hit, missing or stale, and why.
[group('build')]
[no-cd]
plan *PKG:
    @{{ tool }} plan "$@"

# Choose versions and write them to `eryx.lock`, without building; `--upgrade [NAME…]` lets them move.
[group('build')]
[no-cd]
lock *PKG:
    @{{ tool }} lock "$@"

# Fetch every input of a build; `just bundle --offline …` works afterwards.
[group('build')]
[no-cd]
fetch *PKG:
    @{{ tool }} fetch "$@"

# Write every input of a build into a directory, for `just bundle --offline --mirror DIR …` elsewhere.
[group('build')]
[no-cd]
vendor DIR *PKG:
    @{{ tool }} vendor "$@"

# Tell for each step why it would run: which input changed, from what to what.
[group('build')]
[no-cd]
why *PKG:
    @{{ tool }} why "$@"

# Build everything a second time, elsewhere and without the cache, and compare; `--step NAME` for one step.
[group('build')]
[no-cd]
verify *PKG:
    @{{ tool }} verify "$@"

# Tell what differs between two components or manifests.
[group('build')]
[no-cd]
diff ONE OTHER:
    @{{ tool }} diff "$@"

# List the packages that recipes build; with `--affected-by NAME…` those that change when these recipes do.
[group('build')]
[no-cd]
recipes *ARGS:
    @{{ tool }} recipes "$@"

# Open a shell where a step failed, such as `just shell "extension numpy"`.
[group('build')]
[no-cd]
shell STEP:
    @{{ tool }} shell "$@"

# Remove from the cache what no component in `dist/` and no recent build needs; `--dry-run` only tells.
[group('build')]
[no-cd]
gc *ARGS:
    @{{ tool }} gc "$@"

# Remove everything from the cache.
[group('build')]
[no-cd]
clean:
    @{{ tool }} clean

# Build a component and push it to a registry, such as `just publish registry.test/python:latest numpy`.
[group('publish')]
[no-cd]
publish REF *PKG:
    @{{ tool }} publish "$@"

# Pull a component from a registry, checked; `--key FILE` wants it signed.
[group('publish')]
[no-cd]
pull REF *ARGS:
    @{{ tool }} pull "$@"

# Describe a component in a file or a registry.
[group('publish')]
[no-cd]
inspect WHAT *ARGS:
    @{{ tool }} inspect "$@"

# Run Python code in a component: `-c CODE`, a file, or `-`.
[group('use')]
[no-cd]
run COMPONENT *ARGS:
    @{{ tool }} run "$@"

# Compile a component ahead of time, into `COMPONENT.native`.
[group('use')]
[no-cd]
compile COMPONENT:
    @{{ tool }} compile "$@"

# Check a component: its surface, its sections, and every package in it.
[group('use')]
[no-cd]
check COMPONENT:
    @{{ tool }} check "$@"

# All that continuous integration does.
[group('develop')]
ci:
    .ci/run

# Compile the tool.
[group('develop')]
build:
    cargo build --release -p eryx-build

# Run all tests; builds the components they need.
[group('develop')]
test *ARGS:
    cargo test --release --no-fail-fast -p eryx-build -p eryx-embed -p eryx-serve --features eryx-build/e2e "$@"

# Run the tests that need no component.
[group('develop')]
test-fast *ARGS:
    cargo test --release --no-fail-fast -p eryx-build -p eryx-embed -p eryx-serve "$@"

# Measure; a table, and `target/bench.json`.
[group('develop')]
[no-cd]
bench *ARGS:
    cargo bench --manifest-path {{ quote(manifest) }} -p eryx-build --features e2e --bench bench -- "$@"

# Format all Rust code.
[group('develop')]
fmt:
    cargo fmt --all
    cargo fmt --manifest-path runtime/Cargo.toml

# Look at style: rustfmt, and clippy with warnings as errors.
[group('develop')]
lint:
    cargo fmt --all --check
    cargo fmt --manifest-path runtime/Cargo.toml --check
    cargo clippy --release --workspace --all-targets --all-features --locked -- -D warnings
    cargo clippy --release --manifest-path runtime/Cargo.toml --locked -- -D warnings

# Check the workflows with actionlint.
[group('develop')]
workflows:
    .ci/workflows

# Build the Dockerfile without an engine, make steps in it, and compare with what this machine makes; as root.
[group('develop')]
container:
    .ci/container

# Check licences and advisories of all crates; needs cargo-deny.
[group('develop')]
deny:
    cargo deny --workspace check
