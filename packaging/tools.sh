# Cargo's tools for packages and tests: sourced by build-deb, build-image and tests/run.
#
# Owns how a tool comes to be there. It deliberately does not know what a tool is for.

# cargo_tool NAME VERSION: puts a tool of crates.io into target/tools, once, and that folder into PATH. Without
# optimization it is built in a third of the time, and none of them has much to do.
cargo_tool() {
    local tools=$top/target/tools
    PATH=$tools/bin:$PATH
    grep -qF "\"$1 $2 " "$tools/.crates.toml" 2>/dev/null && return
    echo "installing $1 $2 into target/tools"
    # Flags for the project's binary are none of the tool's business.
    env -u RUSTFLAGS -u CARGO_TARGET_DIR -u CARGO_BUILD_TARGET cargo install --locked --quiet --debug \
        --config profile.dev.debug=false --root "$tools" --target-dir "$tools/build" "$1@$2" \
        && rm -rf "$tools/build"
}
