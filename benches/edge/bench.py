#!/usr/bin/env python3
"""Yardstick for the edge: proxies in front of the same two targets, in one interleaved run.

  bench.py thr  [--rounds 5] [--secs 6] [--only x,y]    throughput, latency, CPU for each request, memory
  bench.py fail [--rounds 3] [--only x,y] [--scenarios kill,hang,hole,503,slow,flap]
  bench.py more [--rounds 1] [--only x,y] [--parts tls,http2,big,stream,idle,dribble]
  bench.py few  [--rounds 3] [--only x,y]               three targets, other routes under load, a small last resort
  bench.py list                                         the proxies whose binary is there
  bench.py show                                         the tables of the last runs again

Everything is on loopback, bounded in rate and time. Each round runs every proxy once, in a shuffled order. Rows go to
OUT (default ./out), one JSON a run. BIN is the folder with up, load and edge; HAPROXY, ENVOY, NGINX name binaries that
are not on PATH. MINE="name=command with {port} {a} {b} {dir}" adds one of your own, ';' between several.
"""
import argparse, json

import failures, few, more, throughput
from proxies import proxies
from scene import OUT


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("cmd", choices=["thr", "fail", "more", "few", "list", "show"])
    ap.add_argument("--rounds", type=int, default=3); ap.add_argument("--secs", type=int, default=6)
    ap.add_argument("--conns", type=int, default=32)
    ap.add_argument("--only"); ap.add_argument("--scenarios", default=",".join(failures.SCENARIOS))
    ap.add_argument("--parts", default=",".join(more.PARTS))
    args = ap.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    P = {k: v for k, v in proxies().items() if not args.only or k in args.only.split(",")}
    if args.cmd == "list":
        print("\n".join(P))
    elif args.cmd == "show":
        for name, part in (("thr", throughput), ("fail", failures), ("more", more), ("few", few)):
            if (f := OUT / f"{name}.json").exists():
                part.show(json.loads(f.read_text()))
    else:
        {"thr": throughput, "fail": failures, "more": more, "few": few}[args.cmd].run(P, args)


if __name__ == "__main__":
    main()
