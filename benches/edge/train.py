#!/usr/bin/env python3
"""Builds `edge` as `cargo xtask dist` builds LinkFlow: one that counts what it runs through is asked for a while, and it is built
again with what was counted.

    python3 train.py        # after `cargo build --release`: ten minutes; target/trained/edge

Needs rustup's llvm-tools, wrk and h2load.
"""
import os, shutil, signal, subprocess as sp
from pathlib import Path

from scene import A, B, BIN, HERE, OUT, PORT, TLS_PORT, Proxy, Up, certificate

PLACE = HERE / "target/trained"


def built(flags):
    host = next(line[6:] for line in sp.check_output(["rustc", "-vV"], text=True).splitlines() if line.startswith("host: "))
    # With the target named, the flags are for it alone, and not for what runs while it is built.
    sp.run(["cargo", "build", "--release", "--bin", "edge", "--target", host], cwd=HERE, check=True, env=dict(os.environ, RUSTFLAGS=flags))
    return HERE / "target" / host / "release/edge", host


def train(edge):
    a, b = Up("a", A), Up("b", B)
    proxy = Proxy(lambda d: [str(edge), str(PORT), *certificate()[:2], f"http://127.0.0.1:{A}", f"http://127.0.0.1:{B}"], OUT / "run/training")
    try:
        sp.run(["wrk", "-t1", "-c32", "-d8s", f"http://127.0.0.1:{PORT}/"], check=True)
        sp.run(["wrk", "-t1", "-c32", "-d8s", f"https://127.0.0.1:{TLS_PORT}/"], check=True)
        sp.run(["h2load", "-c8", "-m8", "-D8", f"https://127.0.0.1:{TLS_PORT}/"], check=True)
        # What was counted is written when it ends by itself.
        proxy.p.send_signal(signal.SIGTERM)
        proxy.p.wait(20)
    finally:
        proxy.stop(); a.stop(); b.stop()


def main():
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    counting, host = built(f"-Cprofile-generate={PLACE}")
    shutil.copy(counting, PLACE / "counting")
    train(PLACE / "counting")
    root = Path(sp.check_output(["rustc", "--print", "sysroot"], text=True).strip())
    counts = PLACE / "counts.profdata"
    sp.run([root / "lib/rustlib" / host / "bin/llvm-profdata", "merge", "-o", counts, *PLACE.glob("*.profraw")], check=True)
    shutil.copy(built(f"-Cprofile-use={counts}")[0], PLACE / "edge")
    print(PLACE / "edge")


main()
