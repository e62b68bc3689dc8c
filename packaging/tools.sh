# shellcheck shell=sh
# Cargo's tools for packages and tests: sourced by build-deb, build-image, debian/rules and tests/steps.
#
# Owns how a tool comes to be there. It deliberately does not know what is built with it.

# cargo_tool NAME VERSION: puts a tool of crates.io into target/tools, once, and that folder into PATH. Without
# optimization it is there in a third of the time, and none of them has much to do. $top is the folder of the sources.
cargo_tool() {
    tools=${top:?}/target/tools
    PATH=$tools/bin:$PATH
    ! grep -qF "\"$1 $2 " "$tools/.crates.toml" 2>/dev/null || return 0
    echo "installing $1 $2 into target/tools"
    # Flags for the project's binary are none of the tool's business.
    env -u RUSTFLAGS -u CARGO_TARGET_DIR -u CARGO_BUILD_TARGET cargo install --locked --quiet --debug \
        --config profile.dev.debug=false --root "$tools" --target-dir "$tools/build" "$1@$2" \
        && rm -rf "$tools/build"
}

# cargo_auditable: the tool behind auditable_build, in its last version for Rust 1.85.
cargo_auditable() {
    cargo_tool cargo-auditable 0.7.1
}

# auditable_build OPTION...: what `cargo auditable build --locked` does, so that the binary lists the crates it is
# made of. There, the wrapper of rustc is named by its path, which cargo hashes into every symbol's name: the binary
# would be another one in another folder. Here it is found by PATH.
auditable_build() {
    RUSTC_WORKSPACE_WRAPPER=cargo-auditable \
        CARGO_AUDITABLE_ORIG_ARGS='{"offline":false,"locked":true,"frozen":false,"config":[]}' \
        cargo build --locked "$@"
}

# cross ARCH: what builds for another architecture of Debian's. $target is Rust's name of it, $gcc the compiler for C, which
# links, too.
cross() {
    target=$(sed -n "s/^RUST_$1 = //p" "${top:?}/debian/rules")
    if [ -z "$target" ]; then
        echo "${0##*/}: nothing here builds for $1 on this machine; what can be built on others is arm64" >&2
        return 1
    fi
    gcc=$(echo "$target" | sed 's/-unknown//')-gcc
    if ! command -v "$gcc" >/dev/null || [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
        echo "${0##*/}: for $1, $gcc or Rust's standard library is missing; on Debian 13:" \
            "dpkg --add-architecture $1, apt update, apt install gcc-${gcc%-gcc} libc6-dev-$1-cross libstd-rust-dev:$1" >&2
        return 1
    fi
}

# cargo_deny: the tool that looks at the licences, versions and sources of crates, in its last version for Rust 1.85.
cargo_deny() {
    cargo_tool cargo-deny 0.18.3
}
