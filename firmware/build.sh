#!/usr/bin/env bash
# Builds the field node's image for a board, proves that nothing in it can panic, and holds it to its budget.
#
#   firmware/build.sh            builds, checks, prints the sizes
#   firmware/build.sh --lint     clippy over the board as well, where rust-web-clippy is installed
#   firmware/build.sh --stack    and runs the image in QEMU for the high-water mark of its stack
#
# Installs nothing. Exit status: 0 built and within budget; 1 it does not build, can panic or is too large; 2 it cannot be
# built here (what is missing is said in one line that begins with "cannot:").
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
board=lm3s6965evb
flash_budget=$((32 * 1024))
ram_budget=$((4 * 1024))
image=$here/board-$board/target/thumbv7m-none-eabi/release/node

cannot() {
    echo "cannot: $1"
    exit 2
}

[ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] || cannot "no cargo and rustc of the distribution (Debian: cargo-web, rustc-web)"
[ -e "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ] || cannot "no source of core (Debian: rust-web-src)"
command -v ld.lld-22 >/dev/null || cannot "no linker (Debian: lld-22)"

# The board's own directory has its target, linker and flags; those of whoever calls must not add to them.
cd "$here/board-$board" || exit 1
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

# A link that must fail comes first: it shows that the one after it can. `panics` adds one path to a panic.
if cargo build --quiet --release --locked --features no-panic-check,panics 2>/dev/null; then
    echo "failed: the no-panic link let a panic through"
    exit 1
fi
if ! cargo build --quiet --release --locked --features no-panic-check; then
    echo "failed: something in the image can panic, or it does not build (see above)"
    exit 1
fi
cargo build --quiet --release --locked || exit 1

flash=0
ram=0
while read -r name type size flags; do
    bytes=$((16#$size))
    case $flags in
        *WA*) ram=$((ram + bytes)) ;;
    esac
    case "$type $flags" in
        PROGBITS*A*) flash=$((flash + bytes)) ;;
    esac
done < <(readelf -SW "$image" | sed -n 's/^ *\[ *[0-9]*\] \(\.[^ ]*\) *\([A-Z_]*\) *[0-9a-f]* [0-9a-f]* \([0-9a-f]*\) [0-9]* *\([WAX]*\) .*/\1 \2 \3 \4/p' | grep -v '^.debug')

echo "image: $image"
echo "flash: $flash of $flash_budget bytes"
echo "ram:   $ram of $ram_budget bytes for statics, $((ram_budget - ram)) for the stack"
echo "panic: nothing in the image reaches a panic"
if [ "$flash" -gt "$flash_budget" ] || [ "$ram" -gt "$ram_budget" ]; then
    echo "failed: over budget"
    exit 1
fi

if [ "${1:-}" = "--stack" ]; then
    cd "$here/.." && unset RUSTC_BOOTSTRAP && PATH=${PATH#/usr/bin:}
    GUANJIA_NODE_IMAGE=$image cargo test --quiet --package guanjia-tests --test scenarios node::stack -- --nocapture | grep '^stack:' ||
        { echo "failed: no measure of the stack"; exit 1; }
fi
