"""Throughput, latency, CPU for each request, and memory, in rounds that interleave all proxies."""
import json, os, random, re, resource, statistics as S, subprocess as sp

from scene import A, B, OUT, PORT, Proxy, Up, cpu


def wrk(port, conns, secs, path="/", scheme="http"):
    args = ["wrk", "-t1", f"-c{conns}", f"-d{secs}s", "--latency", f"{scheme}://127.0.0.1:{port}{path}"]
    o = sp.run(args, capture_output=True, text=True, check=True).stdout
    ms = lambda share: in_ms(re.search(rf"^ +{share}% +(\S+)", o, re.M)[1])
    return dict(n=int(re.search(r"(\d+) requests in", o)[1]), rps=float(re.search(r"Requests/sec:\s+([\d.]+)", o)[1]),
                p50=ms(50), p99=ms(99), bad="Non-2xx" in o or "Socket errors" in o)


def in_ms(text):
    m = re.match(r"([\d.]+)(us|ms|s)", text)
    return float(m[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[m[2]]


def around(*targets):
    """What the targets and the clients took of the processors so far, in seconds."""
    clients = resource.getrusage(resource.RUSAGE_CHILDREN)
    return clients.ru_utime + clients.ru_stime + sum(cpu(t.p.pid) for t in targets)


def one(name, make, args):
    a, b, px = Up("a", A), Up("b", B), None
    try:
        port = A
        if make:
            px, port = Proxy(make, OUT / "run" / name), PORT
        idle = px.mem() if px else 0
        wrk(port, args.conns, 1)
        c0, u0, asked = px.cpu() if px else 0, around(a, b), a.asked() + b.asked()
        r = wrk(port, args.conns, args.secs)
        c1, u1, asked = px.cpu() if px else 0, around(a, b), a.asked() + b.asked() - asked
        # What was under way when the clients left counts as asked, but not as answered.
        extra = max(0, asked - r["n"] - args.conns) / r["n"]
        return dict(r, proxy=name, extra=100 * extra, cpu_us=(c1 - c0) / r["n"] * 1e6, around_us=(u1 - u0) / r["n"] * 1e6, idle_mb=idle, load_mb=px.mem() if px else 0,
                    box_load=os.getloadavg()[0])
    finally:
        if px:
            px.stop()
        a.stop(); b.stop()


def run(proxies, args):
    P, rows = {"direct": None, **proxies}, []
    for rnd in range(args.rounds):
        order = list(P); random.shuffle(order)
        for name in order:
            rows.append(dict(one(name, P[name], args), round=rnd))
            print(json.dumps(rows[-1]), flush=True)
            (OUT / "thr.json").write_text(json.dumps(rows, indent=1))
    show(rows)


def show(rows):
    """Medians. Ratios are of the same round, so that what else the machine does falls out of them."""
    names = list(dict.fromkeys(r["proxy"] for r in rows))
    yard = {r["round"]: r for r in rows if r["proxy"] == "haproxy"}
    print(f"\n{'proxy':15}{'rps':>8}{'ratio':>7}{'p50ms':>7}{'p99ms':>7}{'cpu_us':>8}{'ratio':>7}{'around':>8}{'idleMB':>8}{'loadMB':>8}{'extra%':>8}")
    for name in names:
        R = [r for r in rows if r["proxy"] == name]
        m = lambda k: S.median(r[k] for r in R)
        ratio = lambda k: S.median(r[k] / yard[r["round"]][k] for r in R if r["round"] in yard) if yard else 0
        print(f"{name:15}{m('rps'):8.0f}{ratio('rps'):7.2f}{m('p50'):7.2f}{m('p99'):7.2f}{m('cpu_us'):8.1f}"
              f"{ratio('cpu_us'):7.2f}{m('around_us'):8.1f}{m('idle_mb'):8.1f}{m('load_mb'):8.1f}{m('extra'):8.2f}{'  bad' if any(r['bad'] for r in R) else ''}")
