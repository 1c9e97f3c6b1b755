#!/usr/bin/env bash
# Makes `cargo build --target wasm32-wasip2` work with this machine's stable rustc.
#
#   1. returns at once if the target already works (proved by linking a component);
#   2. else `rustup target add wasm32-wasip2`, the way everywhere that it works;
#   3. else, on a Debian-like machine, takes the standard library's source and wasi-libc from Debian's
#      archive (pinned, SHA-256 checked), builds std once with upstream's own `dist` profile, and installs
#      the rlibs where rustup would have put them. No -Z flag or RUSTC_BOOTSTRAP is needed afterwards.
#
# Idempotent, and safe to run twice at once; run it again after any `rustup update`. Settings, all optional:
#   TOOLCHAIN=name            a rustup toolchain other than the active one
#   WASM_TARGET_CACHE=dir     where .deb files may lie already; it is only read. What is downloaded is kept in
#                             ~/.cache/wasm-target, where std is built as well
#   WASM_TARGET_MIRROR=url    base of a Debian mirror (default: the one in this machine's apt sources)
#   WASM_TARGET_SKIP_RUSTUP=1 go straight to step 3
set -euo pipefail
TARGET=wasm32-wasip2
MARK=.wasm-target-fallback
WASI_LIBC="pool/main/w/wasi-libc/wasi-libc_0.0~git20260129.ec0effd-3~bpo13+1_all.deb"
WASI_LIBC_SHA256=45eb80a2d4dcf7fe54c8e5c5d6a3cd165a3682fccc124c46f7abc6255c9b1bce

say() { echo "wasm-target: $*" >&2; }
die() { say "error: $*"; exit 1; }
tool() { if [ -n "${TOOLCHAIN:-}" ]; then local t=$1; shift; "$t" "+$TOOLCHAIN" "$@"; else "$@"; fi; }

# The std source must be of exactly the compiler's version: std uses that compiler's unstable features.
rust_src() { # VERSION -> "sha256 path"
  case $1 in
    1.95.0) echo "7b76db5b880a77f9e52975d2baa6209d2f76d2c9c2789515c3088cb960e2c83b pool/main/r/rustc/rust-src_1.95.0+dfsg1-2~bpo13+1_all.deb" ;;
    1.96.1) echo "9af976f1bc790afd8b654c69097372e1de42c0c77379ce9739c6fb550cc70a17 pool/main/r/rustc/rust-src_1.96.1+dfsg1-2~bpo13+1_all.deb" ;;
    1.97.1) echo "d0637f8f464234ffb12baa55fc0e851f5f9dcfd0199c1a0922e4488a4f591992 pool/main/r/rustc/rust-src_1.97.1+dfsg1-1_all.deb" ;;
    *) return 1 ;;
  esac
}

works() { # does the target build a component? ~0.3 s
  local d rc=1; d=$(mktemp -d)
  echo 'fn main() { println!("{:?}", std::env::args().collect::<Vec<_>>()) }' >"$d/p.rs"
  if tool rustc --edition 2021 --target $TARGET -o "$d/p.wasm" "$d/p.rs" >"$d/log" 2>&1 &&
    [ "$(head -c 8 "$d/p.wasm" | od -An -tx1 | tr -d ' \n')" = 0061736d0d000100 ]; then rc=0; fi
  rm -rf "$d"; return $rc
}

fetch() { # SHA256 POOL-PATH -> prints the local file
  local sha=$1 path=$2 name file base
  name=$(basename "$path")
  for file in ${WASM_TARGET_CACHE:+"$WASM_TARGET_CACHE/$name"} "$cache/$name"; do # ends with the one to write
    if echo "$sha  $file" | sha256sum -c --status 2>/dev/null; then break; fi
  done
  if ! echo "$sha  $file" | sha256sum -c --status 2>/dev/null; then
    command -v apt-get >/dev/null || die "no $name with the right digest, and no apt to get it with"
    base=${WASM_TARGET_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -Ei '/debian/?$' | head -1)}
    [ -n "$base" ] || die "no Debian mirror in apt's sources; set WASM_TARGET_MIRROR"
    /usr/lib/apt/apt-helper -qq download-file "${base%/}/$path" "$file.part" "SHA256:$sha" >/dev/null 2>"$file.log" ||
      { cat "$file.log" >&2;
        die "cannot get $path (superseded in the archive? update the pins in $0)"; }
    echo "$sha  $file.part" | sha256sum -c --status || die "wrong checksum: $path"
    mv "$file.part" "$file"
  fi
  echo "$file"
}

works && { say "$TARGET works"; exit 0; }
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wasm-target
mkdir -p "$cache"
# Two at once would take each other's folders away.
if command -v flock >/dev/null; then
  exec 9>"$cache/lock"
  flock --nonblock 9 || { say "another run is at it; waiting"; flock 9; works && exit 0; }
fi

sysroot=$(tool rustc --print sysroot); libdir=$sysroot/lib/rustlib/$TARGET
version=$(tool rustc -vV | sed -n 's/^release: //p'); hash=$(tool rustc -vV | sed -n 's/^commit-hash: //p')

if [ -z "${WASM_TARGET_SKIP_RUSTUP:-}" ] && command -v rustup >/dev/null; then
  # What an earlier fallback left (another compiler's rlibs, say) would make rustup refuse: 'detected conflict'.
  aside=
  if [ -e "$libdir" ] && ! grep -qs "^rust-std-$TARGET$" "$sysroot/lib/rustlib/components"; then
    aside=$libdir.aside; rm -rf "$aside"; mv "$libdir" "$aside"
  fi
  say "trying rustup target add $TARGET"
  limit=(); if command -v timeout >/dev/null; then limit=(timeout 300); fi
  if ${limit[@]+"${limit[@]}"} rustup target add $TARGET ${TOOLCHAIN:+--toolchain "$TOOLCHAIN"} >&2 && works; then
    [ -z "$aside" ] || rm -rf "$aside"
    say "installed by rustup"; exit 0
  fi
  [ -z "$aside" ] || { rm -rf "$libdir"; mv "$aside" "$libdir"; }
  say "rustup could not; falling back to Debian's sources"
fi

pin=$(rust_src "$version") || die "no pinned std source for rustc $version (have 1.95.0 1.96.1 1.97.1)"
command -v dpkg-deb >/dev/null || die "the fallback needs dpkg-deb and apt (a Debian-like machine)"
src_deb=$(fetch ${pin/ */} "${pin#* }"); libc_deb=$(fetch $WASI_LIBC_SHA256 "$WASI_LIBC")

# A fixed path, not a random one: crate hashes depend on it, so a rebuild gives the same rlibs.
work=$cache/build; rm -rf "$work"; mkdir -p "$work"; trap 'rm -rf "$work"' EXIT
dpkg-deb --fsys-tarfile "$src_deb" | tar -x -C "$work" --wildcards "./usr/src/rustc-$version/library/*"
dpkg-deb --fsys-tarfile "$libc_deb" | tar -x -C "$work" --wildcards "./usr/lib/$TARGET/*"
lib=$work/usr/src/rustc-$version/library
say "building std $version for $TARGET"
# Upstream's `dist` profile embeds bitcode, so that guests may use lto. RUSTC_BOOTSTRAP is for this build only.
( cd "$lib" && unset CARGO_TARGET_DIR CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER &&
  RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=wasm-target CARGO_PROFILE_DIST_DEBUG=${WASM_TARGET_DEBUG:-1} \
  RUSTFLAGS="-Zforce-unstable-if-unmarked --remap-path-prefix=$lib=/rustc/$hash/library --remap-path-prefix=$HOME/.cargo/registry=/cargo/registry" \
  tool cargo build -q -p sysroot --profile dist --locked --target $TARGET --features "panic-unwind backtrace" --target-dir "$work/target" ) >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; die "std did not build"; }

new=$libdir.new; rm -rf "$new"; mkdir -p "$new/lib/self-contained"
cp "$work/target/$TARGET/dist/deps/"*.rlib "$new/lib/"
cp "$work/usr/lib/$TARGET/"{crt1-command.o,crt1-reactor.o,libc.a} "$new/lib/self-contained/"
echo "rustc $version $hash; $(basename "$src_deb"); $(basename "$libc_deb")" >"$new/$MARK"
rm -rf "$libdir"; mv "$new" "$libdir"
works || die "installed $libdir, but a program does not link; see rustc's own message"
say "delete any target/$TARGET folder that an earlier std was used for (else rustc says E0463); cargo xtask does"
say "installed $(ls "$libdir"/lib/*.rlib | wc -l) rlibs in $libdir"
