# The tool with all that a build needs. What it makes in a container is what it makes on a bare machine, to the byte;
# `.ci/container` shows that, and needs no container engine for it.
#
#     docker build -t eryx .
#     docker run --rm --user "$(id -u):$(id -g)" -v eryx-cache:/cache -v "$PWD/dist:/work/dist" eryx bundle numpy pydantic
#
# BASE is an image with Debian 12, Rust by rustup and Python 3.11, in which any user may write to cargo's home: by
# default the one that the Rust project publishes, by digest. DEBIAN=any takes what versions of Debian's packages there
# are, where the archive has no longer those of `.ci/debian`.
ARG BASE=rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1

# What the machine must have; `--target environment` is an image for continuous integration.
FROM ${BASE} AS environment
ARG DEBIAN=pinned
COPY .ci/debian .ci/setup /opt/eryx-setup/.ci/
COPY justfile rust-toolchain.toml /opt/eryx-setup/
RUN sh /opt/eryx-setup/.ci/debian "$DEBIAN" && sh /opt/eryx-setup/.ci/setup --build && \
    rustup default "$(sed -n 's/^channel *= *"\(.*\)"/\1/p' /opt/eryx-setup/rust-toolchain.toml)"

# The last stage that needs the network: all crates, by `Cargo.lock`. Without the file that names the toolchain, since
# rustup would fetch the parts of it that only style needs.
FROM environment AS sources
WORKDIR /work
COPY . .
RUN rm rust-toolchain.toml && cargo fetch --locked --target x86_64-unknown-linux-gnu

# OPT_LEVEL is how well the tool itself is compiled; what it makes does not depend on it.
FROM sources AS tool
ARG OPT_LEVEL=3
RUN --network=none CARGO_PROFILE_RELEASE_OPT_LEVEL=$OPT_LEVEL cargo build --release --locked --offline -p eryx-build && mv target/release/eryx-build /usr/local/bin/

FROM environment
COPY --from=tool /usr/local/bin/eryx-build /usr/local/bin/
# The checkout without the tool's own sources. Anybody may run the container, so anybody may write where a build does.
COPY recipes /work/recipes
COPY runtime /work/runtime
COPY sysroot /work/sysroot
COPY eryx.lock /work/
RUN useradd --create-home --uid 1000 builder && \
    install -d -m 777 /cache /work/dist && chmod -R a+rX /work && chmod 777 /work /home/builder && chmod 666 /work/eryx.lock
USER builder
ENV ERYX_CACHE=/cache HOME=/home/builder
WORKDIR /work
ENTRYPOINT ["eryx-build"]
CMD ["--help"]
