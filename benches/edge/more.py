"""What few yardsticks measure: large bodies, many idle clients, clients that dribble, TLS, a small last resort."""
import json, os, random, re, socket, statistics as S, subprocess as sp, threading, time

from scene import A, B, OUT, PORT, TLS_PORT, Proxy, Up
from throughput import wrk

IDLE, DRIBBLING, GB = 10_000, 2_000, 1 << 30


def big(px):
    """Answers of 1 MB: MB/s, and CPU for each MB."""
    wrk(PORT, 8, 1, "/?bytes=1048576")
    c0 = px.cpu()
    r = wrk(PORT, 8, 4, "/?bytes=1048576")
    return dict(mb_per_s=r["rps"], cpu_us_per_mb=(px.cpu() - c0) / r["n"] * 1e6)


def tls(px):
    """The usual page over TLS, connections kept."""
    wrk(TLS_PORT, 32, 1, scheme="https")
    c0 = px.cpu()
    r = wrk(TLS_PORT, 32, 4, scheme="https")
    return dict(rps=r["rps"], p99=r["p99"], cpu_us=(px.cpu() - c0) / r["n"] * 1e6, bad=r["bad"])


def http2(px):
    """The usual page over HTTP/2 and TLS: 8 connections with 8 streams each."""
    load = ["h2load", "-c8", "-m8", "--duration=4", f"https://127.0.0.1:{TLS_PORT}/"]
    c0 = px.cpu()
    o = sp.run(load, capture_output=True, text=True, check=True).stdout
    n = int(re.search(r"requests: \d+ total, \d+ started, (\d+) done", o)[1])
    good = int(re.search(r"status codes: (\d+) 2xx", o)[1])
    return dict(rps=n / 4, cpu_us=(px.cpu() - c0) / n * 1e6, bad=max(0, n - good))


def stream(px):
    """One answer and one request of 1 GB: the most memory while they pass."""
    peak, done = 0, threading.Event()
    def watch():
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, px.mem())
    t = threading.Thread(target=watch); t.start()
    url = f"http://127.0.0.1:{PORT}/"
    try:
        down = sp.run(["curl", "-s", "-o", "/dev/null", "-w", "%{size_download}", f"{url}?bytes={GB}"], capture_output=True, text=True).stdout
        up = sp.run(f"head -c {GB} /dev/zero | curl -s -o /dev/null -w '%{{size_upload}} %{{http_code}}' -T - -X POST -H 'expect:' {url}",
                    shell=True, capture_output=True, text=True).stdout
    finally:
        done.set(); t.join()
    return dict(peak_mb=peak, down_ok=int(down) == GB, up_ok=int(up.split()[0]) >= GB and up.endswith(" 200"))


def clients(count, first):
    held = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", PORT), 5); s.settimeout(5); s.sendall(first); held.append(s)
    return held


def idle(px):
    """Clients that have asked once and keep their connection."""
    before = px.mem()
    held = clients(IDLE, b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")
    answered = sum(s.recv(4096).startswith(b"HTTP/1.1 200") for s in held)
    time.sleep(6)  # connections to targets that nobody needs are closed meanwhile
    r = dict(before_mb=before, idle_mb=px.mem(), answered=answered)
    for s in held:
        s.close()
    return r


def dribble(px):
    """The latency of others while clients send a head a byte at a time."""
    alone = wrk(PORT, 32, 3)
    held, done = clients(DRIBBLING, b"GET / HTTP/1.1\r\nhost: bench\r\nx-slow: "), threading.Event()
    def go():
        while not done.wait(1):
            for s in held:
                try:
                    s.send(b"x")
                except OSError:
                    pass
    t = threading.Thread(target=go); t.start()
    try:
        beside = wrk(PORT, 32, 3)
    finally:
        done.set(); t.join()
    for s in held:
        s.close()
    return dict(p99_alone=alone["p99"], p99_beside=beside["p99"], rps_alone=alone["rps"], rps_beside=beside["rps"], bad=beside["bad"])


PARTS = {"tls": tls, "http2": http2, "big": big, "stream": stream, "idle": idle, "dribble": dribble}


def run(proxies, args):
    rows = []
    for rnd in range(args.rounds):
        for part in args.parts.split(","):
            order = list(proxies); random.shuffle(order)
            for name in order:
                a, b, px = Up("a", A), Up("b", B), None
                try:
                    px = Proxy(proxies[name], OUT / "run" / name)
                    r = PARTS[part](px)
                except Exception as e:  # a proxy that cannot do it is a row too
                    r = dict(error=repr(e))
                finally:
                    if px:
                        px.stop()
                    a.stop(); b.stop()
                rows.append(dict(r, proxy=name, part=part, round=rnd, box_load=os.getloadavg()[0]))
                print(json.dumps(rows[-1]), flush=True)
                (OUT / "more.json").write_text(json.dumps(rows, indent=1))
    show(rows)


def show(rows, parts=PARTS):
    for part in dict.fromkeys(r["part"] for r in rows):
        print(f"\n== {part}: {parts[part].__doc__}")
        for name in dict.fromkeys(r["proxy"] for r in rows):
            R = [r for r in rows if r["proxy"] == name and r["part"] == part and "error" not in r]
            if not R:
                print(f"{name:13} no run"); continue
            keys = [k for k in R[0] if k not in ("proxy", "part", "round", "box_load")]
            print(f"{name:13}" + "  ".join(f"{k} {S.median(r[k] for r in R):.1f}" for k in keys))
