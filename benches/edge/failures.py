"""What visitors notice when the first target fails, and when it is back."""
import json, os, random, signal, statistics as S, subprocess as sp, time

from scene import A, B, BIN, OUT, PORT, Hole, Proxy, Up

RATE, POST_EVERY, LIMIT_MS, SLOW_MS = 400, 10, 10000, 250

# name: (seconds of load, event at, restored at)
SCENARIOS = {"kill": (10, 2, 5), "hang": (10, 2, 5), "hole": (10, 2, 5), "503": (10, 2, 5), "slow": (10, 2, 5), "flap": (10, 2, 8)}


def one(name, make, scenario):
    secs, event_at, restored_at = SCENARIOS[scenario]
    d = OUT / "run" / name; d.mkdir(parents=True, exist_ok=True)
    la, lb, csv = d / "post.a", d / "post.b", d / "rows.csv"
    for f in (la, lb, csv):
        f.unlink(missing_ok=True)
    a, b, px, load = Up("a", A, la), Up("b", B, lb), None, None
    try:
        px = Proxy(make, d)
        load = sp.Popen([str(BIN / "load"), f"http://127.0.0.1:{PORT}/", str(RATE), str(POST_EVERY), str(secs), str(LIMIT_MS), str(csv)])
        t0 = time.time()
        at = lambda s: time.sleep(max(0, t0 + s - time.time()))
        at(event_at); event = time.time() * 1e3
        restore = trouble(scenario, a, at, event_at)
        at(restored_at); restored = time.time() * 1e3
        restore()
        load.wait(secs + LIMIT_MS / 1000 + 10)
        mem = px.mem()
    finally:
        if load and load.poll() is None:
            load.kill()
        if px:
            px.stop()
        a.stop(); b.stop()
    return dict(judge(csv, event, restored, la, lb), proxy=name, scenario=scenario, mb=mem, box_load=os.getloadavg()[0])


def trouble(scenario, a, at, begin):
    """Makes it, and says what ends it."""
    if scenario == "kill":
        a.kill(); return a.start
    if scenario == "hole":
        a.kill(); hole = Hole(A)
        return lambda: (hole.close(), a.start())
    if scenario == "hang":
        a.sig(signal.SIGSTOP); return lambda: a.sig(signal.SIGCONT)
    if scenario in ("503", "slow"):
        a.mode("503" if scenario == "503" else "slow:800"); return lambda: a.mode("ok")
    for i in range(4):  # flap: down 0.75 s, up 0.75 s
        at(begin + 1.5 * i); a.kill(); at(begin + 1.5 * i + 0.75); a.start()
    return lambda: None


def judge(csv, event, restored, la, lb):
    lines = csv.read_text().splitlines()
    w0 = float(lines[0][2:])
    E, R = event - w0, restored - w0
    rows = sorted((float(x[0]), float(x[1]), int(x[2]), x[3], x[4]) for x in (l.split(",") for l in lines[1:]))
    G, Q = [r for r in rows if r[4] == "GET"], [r for r in rows if r[4] == "POST"]
    bad = lambda r: not 200 <= r[2] < 500
    fail = lambda X: [r for r in X if bad(r)]
    slow = lambda X: [r for r in X if not bad(r) and r[1] > SLOW_MS]
    during, after = [r for r in G if E - 50 <= r[0] < R], [r for r in G if r[0] >= R]
    from_a, from_b = [r[0] - R for r in after if r[3] == "a"], [r[0] - R for r in after if r[3] == "b"]
    ids = (la.read_text() + lb.read_text()).split()
    return dict(get=len(during), failed=len(fail(during)), slow=len(slow(during)),
                max_ms=max((r[1] for r in during), default=0),
                steady_ms=max((r[0] - E for r in fail(during) + slow(during)), default=0),
                p99_ms=S.quantiles([r[1] for r in during], n=100)[98],
                back_failed=len(fail(after)), back_slow=len(slow(after)), back_max=max((r[1] for r in after), default=0),
                first_a=min(from_a, default=-1), full_a=max(from_b, default=0),
                off_ramp=off_ramp([(r[0] - R, r[3]) for r in after if r[3] in "ab"]),
                post_failed=len(fail(Q)), post_dup=len(ids) - len(set(ids)),
                switches=turns([(r[0], r[3]) for r in G if r[3] in "ab"]))


def turns(seq, window=250):
    """Changes of direction: how often the target that most requests of a quarter of a second come from changes."""
    lead, changes = None, 0
    for i in range(int(seq[-1][0] // window) + 1):
        of = [t for due, t in seq if i * window <= due < (i + 1) * window]
        now = of and max("ab", key=of.count)
        if now and now != lead:
            changes += lead is not None
            lead = now
    return changes


def off_ramp(seq, window=500):
    """By how many percent the first target's share ever falls below what it had reached before, on the way back."""
    most = worst = 0
    for i in range(int(seq[-1][0] // window) if seq else 0):
        of = [t for due, t in seq if i * window <= due < (i + 1) * window]
        share = 100 * of.count("a") / len(of) if of else most
        worst, most = max(worst, most - share), max(most, share)
    return worst


def run(proxies, args):
    rows = []
    for rnd in range(args.rounds):
        for scenario in args.scenarios.split(","):
            order = list(proxies); random.shuffle(order)
            for name in order:
                try:
                    r = one(name, proxies[name], scenario)
                except Exception as e:  # a proxy that cannot start is a row too
                    r = dict(proxy=name, scenario=scenario, error=repr(e))
                rows.append(dict(r, round=rnd))
                print(json.dumps(rows[-1]), flush=True)
                (OUT / "fail.json").write_text(json.dumps(rows, indent=1))
    show(rows)


def show(rows):
    for scenario in dict.fromkeys(r["scenario"] for r in rows):
        print(f"\n== {scenario}: median of runs (worst in brackets)\n{'proxy':13}{'failed':>11}{'slow':>11}{'max ms':>13}{'steady ms':>13}"
              f"{'back fail':>10}{'back slow':>10}{'first a':>8}{'full a':>8}{'off ramp':>9}{'POST fail':>10}{'dup':>5}{'turns':>6}")
        for name in dict.fromkeys(r["proxy"] for r in rows):
            R = [r for r in rows if r["proxy"] == name and r["scenario"] == scenario and "error" not in r]
            if not R:
                print(f"{name:13} no run"); continue
            m = lambda k: f"{S.median(r[k] for r in R):.0f}"
            mw = lambda k: f"{m(k)} ({max(r[k] for r in R):.0f})"
            print(f"{name:13}{mw('failed'):>11}{mw('slow'):>11}{mw('max_ms'):>13}{mw('steady_ms'):>13}{mw('back_failed'):>10}{mw('back_slow'):>10}"
                  f"{m('first_a'):>8}{m('full_a'):>8}{m('off_ramp'):>9}{m('post_failed'):>10}{m('post_dup'):>5}{m('switches'):>6}")
