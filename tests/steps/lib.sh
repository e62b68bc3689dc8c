# shellcheck shell=bash
# What the steps share. Each of them sources this first, and then runs in the top folder of the sources.
#
# A step that ends with 0 has passed. One that can't do its work on this machine ends with 77, and with a line that
# says why. It has a temporary folder of its own in $TMPDIR, which goes with it. Started by itself, a step installs
# nothing and runs no other step: `tests/run NAME` does both.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

# How to become root. In a lane where nobody can answer it, tests/run says so in SUDO.
sudo=
[ "$(id -u)" = 0 ] || sudo=${SUDO:-sudo}
# The bases of the booted machines.
export MACHINES=${XDG_CACHE_HOME:-$HOME/.cache}/openstudio-signaling/machines
# The image's place, from the step that builds it to the one that runs it. It is root's, as the bases are.
containers=$PWD/target/containers
export CONTAINERS_STORAGE_CONF=$containers/storage.conf
TMPDIR=$(mktemp -d) || exit 1
export TMPDIR
end() {
    local running
    running=$(jobs -p)
    # shellcheck disable=SC2086 # One word for each process.
    [ -z "$running" ] || kill $running
    rm -rf "$TMPDIR" 2>/dev/null || $sudo rm -rf "$TMPDIR"
}
trap end EXIT
ulimit -n "$(ulimit -Hn)"

# fail WORD...: ends the step.
fail() {
    echo "$*"
    exit 1
}

# says PATTERN PROGRAM...: whether a program prints what grep finds. A pipe to `grep -q` would end the program at the first
# match, and pipefail may take that for a failure, or not, as it happens.
says() {
    local output
    output=$("${@:2}") || fail "${*:2} does not work"
    grep -q -e "$1" <<<"$output"
}

# test_binary NAME: builds a test binary as who calls, and prints its path. What runs it is root, for namespaces.
test_binary() {
    local built
    built=$(cargo test --locked --test "$1" --no-run 2>&1 | sed -n "s/.*(\(.*$1-[0-9a-f]*\))\$/\1/p")
    [ -n "$built" ] && echo "$PWD/$built"
}

# npm_install FOLDER PACKAGE@VERSION...: installs these in a folder below target/, once.
npm_install() {
    local folder=target/$1
    shift
    [ "$(cat "$folder/installed" 2>/dev/null)" != "$*" ] || return 0
    rm -rf "$folder" && mkdir -p "$folder" \
        && npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-save "$@" \
        && echo "$*" >"$folder/installed"
}

# unpack_deb FOLDER: what is in the package.
unpack_deb() {
    dpkg-deb -x target/deb/*.deb "$1"
}

# no_tag CHANGES: ends the step where lintian has a tag. Root is told that it should not be root; any other line is a tag.
# Debian 13's lintian does not know the tag any more that our overrides have for Debian 12's; and not each build has
# letters of a word in its machine code.
no_tag() {
    local tags
    tags=$(lintian -I --pedantic "$@" 2>&1 | grep -v -e '^running with root privileges' \
        -e ' alien-tag package-supports-alternative-init-but-no-init.d-script ' \
        -e ' unused-override spelling-error-in-binary ' -e '^N: ')
    [ -z "$tags" ] || fail "$tags"
}

# serve LOG OPTION...: builds the server with these options of cargo, runs it, and asks it something. What the server
# says goes to LOG.
serve() {
    local log=$1 process port status
    shift
    : >"$log" && cargo build --locked "$@" || return 1
    PORT=0 cargo run --locked "$@" >"$log" 2>&1 &
    process=$!
    while ! grep -q ' started: ' "$log"; do
        kill -0 "$process" 2>/dev/null || { cat "$log"; return 1; }
        sleep 0.05
    done
    port=$(sed -n 's/.*Listening on .*:\([0-9]*\) (bound.*/\1/p' "$log")
    curl -sS "http://localhost:$port/health" && cargo run --locked --quiet "$@" -- check "localhost:$port"
    status=$?
    # cargo has become the server.
    kill -INT "$process"
    wait "$process" && [ $status = 0 ]
    status=$?
    cat "$log"
    return $status
}

# apart COMMAND...: runs a command in namespaces of its own. crun wants cgroups that are version 2 only, which a
# container does not always have.
apart() {
    # shellcheck disable=SC2016 # The inner shell expands its own arguments.
    $sudo env CONTAINERS_STORAGE_CONF="$CONTAINERS_STORAGE_CONF" \
        unshare --mount --pid --fork --kill-child --mount-proc bash -c '
            mount -t tmpfs tmpfs /run || exit
            if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
                umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit
            fi
            exec "$@"' apart "$@"
}

# inside BASE USER OPTION... -- COMMAND...: runs a command as a user in a copy of a base that nobody sees afterwards, in the
# sources, with the crates that were fetched here and no network. The options are systemd-nspawn's.
inside() {
    local base=$1 user=$2 group=0 options=()
    [ "$user" = 0 ] || group=$(id -g)
    shift 2
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    cargo fetch --locked || return 1
    # shellcheck disable=SC2016 # The inner shell expands its own arguments.
    $sudo env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --pipe --register=no --keep-unit --as-pid2 \
        --private-network --volatile=overlay --machine="$base-$$" --directory="$MACHINES/$base" \
        --bind-ro="$PWD:/source" "${options[@]}" --chdir=/source \
        --bind-ro="${CARGO_HOME:-$HOME/.cargo}/registry:/crates/registry" --setenv=CARGO_HOME=/tmp/cargo \
        --setenv=CARGO_NET_OFFLINE=true --setenv=HOME=/tmp \
        setpriv --reuid="$user" --regid="$group" --clear-groups \
        bash -c 'mkdir /tmp/cargo && ln -s /crates/registry /tmp/cargo/ && exec "$@"' inside "$@"
}

# debian_mirror: where this machine gets its packages.
debian_mirror() {
    sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | grep -m 1 . \
        || awk '/^deb /{for (i = 2; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}' /etc/apt/sources.list
}

# base SUITE: makes the base of the booted machines of a Debian release, unless it is there.
base() {
    local suite=$1 include=systemd,systemd-sysv,dbus,curl,man-db
    # What README has an operator install beside the package: machines have no network to get it by.
    local offline=(certbot coturn haproxy icecast2 nats-server needrestart openssl unattended-upgrades)
    # What tests a package, and libraries of the server, for an upgrade of one of them.
    local alone=(autopkgtest dpkg-dev libc6 libgcc-s1)
    local packages="$include ${offline[*]} ${alone[*]}"
    if [ "$(cat "$MACHINES/$suite.packages" 2>/dev/null)" = "$packages" ]; then
        echo "kept from before: $MACHINES/$suite"
        return
    fi
    $sudo mkdir -p "$MACHINES"
    $sudo rm -rf "${MACHINES:?}/$suite" "$MACHINES/$suite.new"
    $sudo debootstrap --variant=minbase --include="$include" "$suite" "$MACHINES/$suite.new" "$(debian_mirror)" \
        && $sudo chroot "$MACHINES/$suite.new" apt-get update -q \
        && $sudo chroot "$MACHINES/$suite.new" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --download-only "${offline[@]}" \
        && $sudo chroot "$MACHINES/$suite.new" \
            apt-get install -y -q --download-only --no-install-recommends --reinstall "${alone[@]}" \
        && $sudo mv "$MACHINES/$suite.new" "$MACHINES/$suite" \
        && echo "$packages" | $sudo tee "$MACHINES/$suite.packages"
}

# machines MODULE: runs the tests of the package on booted machines: those of a Debian release, or from_0_1_0.
machines() {
    local tests
    tests=$(test_binary machine) \
        && $sudo env MACHINES="$MACHINES" "$tests" --ignored --nocapture --test-threads=2 "$1::"
}
