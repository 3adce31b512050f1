# syntax=docker/dockerfile:1

# Pinned to the minor version that rust-version in Cargo.toml asks for.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY migrations migrations
# The caches outlive the layer, so a change of one crate compiles that crate only. The binary must leave the cache.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked -p onsale-server \
    && cp target/release/onsale /usr/local/bin/onsale

FROM debian:bookworm-slim
# curl is for the health check only; onsale itself links nothing but the C library.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin onsale
COPY --from=build /usr/local/bin/onsale /usr/local/bin/onsale
USER 10001
# Inside a container, loopback cannot be reached from outside; what is published is decided where it is run.
ENV ONSALE_HTTP_BIND=0.0.0.0:8080 \
    ONSALE_LOG_FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["curl", "--silent", "--fail", "--max-time", "2", "--output", "/dev/null", "http://127.0.0.1:8080/livez"]
ENTRYPOINT ["onsale"]
CMD ["serve"]
