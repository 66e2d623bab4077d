#!/usr/bin/env python3
"""The status page beside nginx, heartbeats that report, and a dashboard of 900 monitors.

    python3 bench.py [page] [pings] [paint] [--rate 5000] [--secs 20]

Everything is on loopback and bounded in time. What serves has one core, what asks the other one.
Needs a release build (`cargo build --release -p linkflow`, and `cargo build --release` in benches/edge, whose `load` asks), Debian's
nginx-light, wrk and chromium, and `cargo xtask test needs` once, which fetches playwright-core.
"""
import argparse, csv, json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time
from pathlib import Path
from socket import create_connection, create_server, socket

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BINARY = Path(os.environ.get("LINKFLOW", ROOT / "target/release/linkflow"))
LOAD = ROOT / "benches/edge/target/release/load"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            return create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens at port {port}")


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(pid):
    return next(int(line.split()[1]) / 1024 for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))


def on_core(core, *command):
    return ["taskset", "-c", str(core), *map(str, command)]


def linkflow(folder, *arguments, **how):
    # Whoever changes something meanwhile gives way to who measures.
    return subprocess.run(["nice", "-n", "19", *on_core(1, BINARY, *arguments, "--json")], cwd=folder, capture_output=True, text=True, check=True, **how).stdout


def nth(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


STACK = """
[stack]
name = "shop"
[status_page]
host = "status.example.com"
title = "Shop"
components = [
""" + "".join(f'  {{ name = "Part {n}", watch = "monitor.m{n}" }},\n' for n in range(12)) + """]
""" + "".join(f'[monitors.m{n}]\ntcp = "127.0.0.1:9"\nevery = "60s"\n' for n in range(12))


def load(url, rate, secs, folder):
    """Asks at `rate`, open-loop. Latencies in ms, and how many were not answered with 200."""
    out = folder / "load.csv"
    subprocess.run(on_core(1, LOAD, url, rate, 0, secs, 5_000, out), check=True)
    with out.open() as rows:
        rows = [line for line in csv.reader(rows) if not line[0].startswith("#")][rate:]
    return [float(line[1]) for line in rows], sum(line[2] != "200" for line in rows)


def incidents(folder, over):
    """Opens, goes on with and ends an incident, one after the other. Returns how many changes there were."""
    changes = 0
    while not over.is_set():
        opened = json.loads(linkflow(folder, "incident", "open", f"Trouble {changes}", "--text", "We look into it.", "--on", "Part 1"))
        name = opened["result"]["incident"]["id"] if "incident" in opened["result"] else opened["result"]["id"]
        linkflow(folder, "incident", "update", name, "--text", "It gets better.")
        linkflow(folder, "incident", "resolve", name, "--text", "It is over.")
        changes += 3
        time.sleep(0.3)
    return changes


def page(args, folder):
    (folder / "linkflow.toml").write_text(STACK)
    row("page", "asked for", "answered not with 200", "p50 ms", "p99 ms", "most ms", "CPU µs", "MB", "changes meanwhile")
    row(*["---"] * 9)
    linkflow(folder, "page", "build", "public")
    port = free_port()
    temps = "".join(f"{t}_temp_path {folder}/{t}; " for t in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"""
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err crit; daemon off; master_process off;
user root; events {{ worker_connections 1024; }}
http {{ access_log off; {temps} types {{ text/html html; }} sendfile on; open_file_cache max=100; gzip_static on;
 server {{ listen 127.0.0.1:{port}; root {folder}/public; keepalive_requests 1000000; }} }}
""")
    peers = {
        "nginx, files": on_core(0, "nginx", "-c", folder / "nginx.conf"),
        "LinkFlow": on_core(0, BINARY, "page", "serve", "--listen", "127.0.0.1:{port}"),
    }
    for name, command in peers.items():
        port = port if name.startswith("nginx") else free_port()
        process = subprocess.Popen([part.replace("{port}", str(port)) for part in command], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            wait_for(port)
            over, told = threading.Event(), []
            changing = threading.Thread(target=lambda: told.append(incidents(folder, over)))
            changing.start()
            before = cpu_s(process.pid)
            took, bad = load(f"http://127.0.0.1:{port}/", args.rate, args.secs, folder)
            used = (cpu_s(process.pid) - before) * 1e6 / (args.rate * args.secs)
            over.set()
            changing.join()
            row(name, f"{args.rate}/s", bad, f"{nth(took, .5):.2f}", f"{nth(took, .99):.2f}", f"{max(took):.1f}", f"{used:.0f}",
                f"{memory_mb(process.pid):.0f}", told[0])
        finally:
            process.terminate()
            process.wait()


class Up:
    """`linkflow up` of a stack that has only what is watched."""

    def __init__(self, folder, stack):
        (folder / "linkflow.toml").write_text(stack)
        command = on_core(0, BINARY, "up", "--listen", "127.0.0.1:0", "--no-color")
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if found := re.match(r"dashboard: http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found.group(1))
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return
        sys.exit("`linkflow up` ended")

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def pings(args, folder):
    names = [f"job-{n}" for n in range(2_000)]
    up = Up(folder, '[stack]\nname = "shop"\n' + "".join(f'[heartbeats.{name}]\nevery = "1h"\n' for name in names))
    try:
        listed = json.loads(linkflow(folder, "heartbeat", "list"))["result"]["heartbeats"]
        paths = [re.sub(r"^https?://[^/]+", "", beat["address"]) for beat in listed if beat.get("address")]
        script = folder / "pings.lua"
        script.write_text("paths = {" + ",".join(f'"{path}"' for path in paths) + "}\nn = 0\n"
                          "request = function() n = n + 1; return wrk.format('GET', paths[n % #paths + 1]) end\n")
        before = cpu_s(up.process.pid)
        said = subprocess.run(on_core(1, "wrk", "-t1", "-c64", f"-d{args.secs}s", "--latency", "-s", script, f"http://127.0.0.1:{up.port}"),
                              capture_output=True, text=True, check=True).stdout
        used = cpu_s(up.process.pid) - before
        count = int(re.search(r"(\d+) requests in", said).group(1))
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        bad = int(bad.group(1)) if bad else 0
        row("pings of 2,000 heartbeats", "kept and answered each second", "refused each second", "p99", "CPU µs", "MB")
        row(*["---"] * 6)
        row(count, f"{(count - bad) / args.secs:.0f}", f"{bad / args.secs:.0f}", re.search(r"99%\s+(\S+)", said).group(1),
            f"{used * 1e6 / count:.0f}", f"{memory_mb(up.process.pid):.0f}")
    finally:
        up.close()


def paint(args, folder):
    listener = create_server(("127.0.0.1", 0), backlog=1_000)
    at = listener.getsockname()[1]
    threading.Thread(target=lambda: [listener.accept()[0].close() for _ in iter(int, 1)], daemon=True).start()
    watched = "".join(f'[monitors.m{n}]\ntcp = "127.0.0.1:{at}"\nevery = "5s"\ntimeout = "2s"\ntags = ["group-{n % 9}"]\n' for n in range(900))
    up = Up(folder, f'[stack]\nname = "shop"\n{watched}')
    try:
        time.sleep(20)
        env = {**os.environ, "SOCKET": str(folder / ".linkflow/site.sock"), "TOOLS": str(ROOT / "target/browser-tools")}
        subprocess.run(on_core(1, "node", HERE / "paint.mjs"), env=env, check=True)
        print(f"\nmemory of `linkflow up`, 900 monitors every 5 s: {memory_mb(up.process.pid):.0f} MB")
    finally:
        up.close()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("parts", nargs="*", default=[], help="page, pings, paint; all when none is said")
    ap.add_argument("--rate", type=int, default=5_000)
    ap.add_argument("--secs", type=int, default=20)
    args = ap.parse_args()
    parts = {"page": page, "pings": pings, "paint": paint}
    for name in args.parts or parts:
        folder = Path(tempfile.mkdtemp(prefix=f"linkflow-bench-{name}-"))
        try:
            parts[name](args, folder)
            print()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


main()
