#!/usr/bin/env bash
# Builds the field node's programs for a board, proves that nothing in the node can panic, and holds it to its budget.
#
#   boot.elf      what a reset starts
#   node.elf      the image of the factory, in flash behind it
#   update.elf    the same program for an update: linked for the RAM it is verified and run in, and one patch newer
#                 (GUANJIA_VERSION=1.2.3 gives both that version, GUANJIA_MAKER_KEY whose signature the boot stage trusts)
#
#   firmware/build.sh            builds, checks, prints the sizes
#   firmware/build.sh --lint     clippy over the board as well, where rust-web-clippy is installed
#   firmware/build.sh --stack    and runs the image in QEMU for the high-water mark of its stack
#
# GUANJIA_BOARD=NAME takes another board than the first: the folder board-NAME beside this script.
#
# Installs nothing. Exit status: 0 built and within budget; 1 it does not build, can panic or is too large; 2 it cannot be
# built here (what is missing is said in one line that begins with "cannot:").
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
board=${GUANJIA_BOARD:-lm3s6965evb}
flash_budget=$((32 * 1024))
ram_budget=$((4 * 1024))
boot_budget=$((16 * 1024))
target=$here/board-$board/target
images=$target/images

cannot() {
    echo "cannot: $1"
    exit 2
}

[ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] || cannot "no cargo and rustc of the distribution (Debian: cargo-web, rustc-web)"
[ -e "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ] || cannot "no source of core (Debian: rust-web-src)"
command -v ld.lld-22 >/dev/null || cannot "no linker (Debian: lld-22)"

[ -d "$here/board-$board" ] || {
    echo "failed: there is no board $board (no folder $here/board-$board)"
    exit 1
}
# The board's own directory has its target, linker and flags; those of whoever calls must not add to them.
cd "$here/board-$board" || exit 1
triple=$(sed -n 's/^target = "\(.*\)"/\1/p' .cargo/config.toml)
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR RUSTC RUSTC_WRAPPER RUSTUP_TOOLCHAIN CARGO
export RUSTC_BOOTSTRAP=1 PATH=/usr/bin:$PATH
GUANJIA_BUILD_ID=${GUANJIA_BUILD_ID:-$(git describe --always --dirty --abbrev=8 2>/dev/null || echo unnamed)}
export GUANJIA_BUILD_ID

cargo fetch --quiet --locked 2>/dev/null || cargo fetch --quiet --locked --offline 2>/dev/null ||
    cannot "no network for the sources that core is built from (needed once)"

if [ "${1:-}" = "--lint" ]; then
    if [ -x /usr/bin/cargo-clippy ]; then
        cargo clippy --quiet --release --locked -- -D warnings || exit 1
    else
        echo "skipped: lints of the field node's board (Debian: rust-web-clippy)"
    fi
fi

build() { # build FILE PROGRAM [CARGO ARGUMENT...]: one program, kept under a name of its own
    local file=$1 program=$2
    shift 2
    cargo build --quiet --release --locked --bin "$program" "$@" || return 1
    mkdir -p "$images" && cp "$target/$triple/release/$program" "$images/$file"
}

# A link that must fail comes first: it shows that the one after it can. `panics` adds one path to a panic.
if cargo build --quiet --release --locked --bin node --features no-panic-check,panics 2>/dev/null; then
    echo "failed: the no-panic link let a panic through"
    exit 1
fi
if ! cargo build --quiet --release --locked --bin node --features no-panic-check; then
    echo "failed: something in the node can panic, or it does not build (see above)"
    exit 1
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
next=${GUANJIA_VERSION:-${version%.*}.$((${version##*.} + 1))}
build boot.elf boot || exit 1
GUANJIA_SLOT=ram GUANJIA_VERSION=$next build update.elf node || exit 1
build node.elf node || exit 1

measure() { # measure FILE: sets flash and ram to the bytes it takes of each
    local name type size flags
    flash=0 ram=0
    while read -r name type size flags; do
        case $flags in
            *WA*) ram=$((ram + 16#$size)) ;;
        esac
        case "$type $flags" in
            "PROGBITS "*A*) flash=$((flash + 16#$size)) ;;
        esac
    done < <(readelf -SW "$images/$1" | sed -n 's/^ *\[ *[0-9]*\] \(\.[^ ]*\) *\([A-Z_]*\) *[0-9a-f]* [0-9a-f]* \([0-9a-f]*\) [0-9]* *\([A-Zp]*\) .*/\1 \2 \3 \4/p')
}

over=no
echo "images: $images"
measure boot.elf
echo "boot:   $flash of $boot_budget bytes of flash"
[ "$flash" -gt 0 ] && [ "$flash" -le "$boot_budget" ] || over=yes
measure node.elf
echo "flash:  $flash of $flash_budget bytes"
echo "ram:    $ram of $ram_budget bytes for statics, $((ram_budget - ram)) for the stack"
echo "panic:  nothing in the node reaches a panic"
if [ -z "${GUANJIA_MAKER_KEY:-}" ]; then
    echo "key:    the published example of RFC 8032, whose secret everybody knows: for tests only. Build what goes out"
    echo "        with GUANJIA_MAKER_KEY=HEX, your own Ed25519 public key in 64 digits"
fi
[ "$flash" -gt 0 ] && [ "$flash" -le "$flash_budget" ] && [ "$ram" -gt 0 ] && [ "$ram" -le "$ram_budget" ] || over=yes
if [ "$over" = yes ]; then
    echo "failed: over budget"
    exit 1
fi

if [ "${1:-}" = "--stack" ]; then
    cd "$here/.." && unset RUSTC_BOOTSTRAP && PATH=${PATH#/usr/bin:}
    GUANJIA_NODE_IMAGES=$images cargo test --quiet --package guanjia-tests --test scenarios node::stack -- --nocapture | grep '^stack:' ||
        { echo "failed: no measure of the stack"; exit 1; }
fi
