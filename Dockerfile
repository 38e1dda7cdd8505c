# syntax=docker/dockerfile:1
# The reference server: built with the whole workspace, shipped alone.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# What was built before is kept between builds; the program is taken out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release -p chat-server --bin chat-server \
    && cp target/release/chat-server /chat-server

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin chat
COPY --from=build /chat-server /usr/local/bin/chat-server
USER 10001
ENV CHAT_LISTEN=0.0.0.0:3000
EXPOSE 3000
# Ready, not only alive: a server that drains is taken out. Bash speaks TCP, so nothing is installed for this.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/3000 && printf 'GET /ready HTTP/1.0\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["chat-server"]
