"""What only LinkFlow and HAProxy are set up for: three targets, other routes under load, a small last resort."""
import json, os, random, statistics as S, subprocess as sp, time

import more
from failures import LIMIT_MS, POST_EVERY, RATE
from proxies import SMALL, special
from scene import A, B, C, BIN, OUT, PORT, Proxy, Up


def loaded(make, name, ups, secs, post_every, act):
    """What visitors met in `secs` of load, while `act(at, targets, proxy)` made things happen."""
    d = OUT / "run" / name; d.mkdir(parents=True, exist_ok=True)
    csv, logs = d / "rows.csv", [d / f"post.{n}" for n, _ in ups]
    for f in (csv, *logs):
        f.unlink(missing_ok=True)
    targets, px, load = [Up(n, port, log) for (n, port), log in zip(ups, logs)], None, None
    try:
        px = Proxy(make, d)
        load = sp.Popen([str(BIN / "load"), f"http://127.0.0.1:{PORT}/", str(RATE), str(post_every), str(secs), str(LIMIT_MS), str(csv)])
        t0 = time.time()
        act(lambda s: time.sleep(max(0, t0 + s - time.time())), targets, px)
        load.wait(secs + LIMIT_MS / 1000 + 10)
        alive = all(t.p.poll() is None for t in targets)
    finally:
        if load and load.poll() is None:
            load.kill()
        if px:
            px.stop()
        for t in targets:
            t.stop()
    rows = [(float(x[1]), int(x[2]), x[4]) for x in (l.split(",") for l in csv.read_text().splitlines()[1:])]
    ids = " ".join(f.read_text() for f in logs if f.exists()).split()
    good = [r for r in rows if 200 <= r[1] < 500]
    get, post = [r for r in rows if r[2] == "GET"], [r for r in rows if r[2] == "POST"]
    failed = lambda X: sum(not 200 <= r[1] < 500 for r in X)
    return dict(gets=len(get), failed=failed(get), told_503=sum(r[1] == 503 for r in get), max_ms=max(r[0] for r in good),
                p99_ms=S.quantiles([r[0] for r in good], n=100)[98], post_failed=failed(post), dup=len(ids) - len(set(ids)), up=int(alive))


def three(make, name):
    """The first of three targets is killed, and half a second later the second one; both come back."""
    def act(at, t, px):
        at(2); t[0].kill(); at(2.5); t[1].kill(); at(5); t[0].start(); t[1].start()
    return loaded(make, name, (("a", A), ("b", B), ("c", C)), 9, POST_EVERY, act)


def reload(make, name):
    """Other routes come ten times, three a second."""
    def act(at, t, px):
        for i in range(10):
            at(1 + 0.3 * i); px.reload()
    return loaded(make, name, (("a", A), ("b", B)), 6, POST_EVERY, act)


def overload(make, name):
    """Only a small target is left, for twice as many requests as it can answer; more than 10 at once kill it."""
    def act(at, t, px):
        t[0].mode(f"small:{SMALL}"); at(6)
    return loaded(make, name, (("b", B),), 6, 0, act)


PARTS = {"three": three, "reload": reload, "overload": overload}


def run(_, args):
    rows = []
    for rnd in range(args.rounds):
        for part, measure in PARTS.items():
            P = {k: v for k, v in special(part).items() if not args.only or k in args.only.split(",")}
            order = list(P); random.shuffle(order)
            for name in order:
                try:
                    r = measure(P[name], name)
                except Exception as e:  # a proxy that cannot do it is a row too
                    r = dict(error=repr(e))
                rows.append(dict(r, proxy=name, part=part, round=rnd, box_load=os.getloadavg()[0]))
                print(json.dumps(rows[-1]), flush=True)
                (OUT / "few.json").write_text(json.dumps(rows, indent=1))
    show(rows)


def show(rows):
    more.show(rows, PARTS)
