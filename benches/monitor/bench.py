#!/usr/bin/env python3
"""What it costs to watch, beside prometheus-blackbox-exporter, in turn, each on one core.

    python3 bench.py [--rounds 3] [--secs 20] [--only http,https,tcp] [--most 10000]

Both look at the same nginx, which has the other core. The exporter is asked by wrk, as fast as it answers, and judges and
keeps nothing. LinkFlow does all that `linkflow up` does of it: the wheel, verdicts, the store on disk, events; it looks at
as many things as one every second fills the core with. What is compared is CPU for each look.
Needs Debian's prometheus-blackbox-exporter, nginx-light, wrk, openssl.
"""
import argparse, json, os, re, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target"))
TICK = os.sysconf("SC_CLK_TCK")
BARS = {"http": 1 / 3, "https": 1 / 2, "tcp": 1 / 2}


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    import socket
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens at port {port}")


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(pid, key="VmRSS"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


class Scene:
    """nginx on the second core, plain and with TLS."""

    def __init__(self, folder):
        self.folder, self.plain, self.secure = folder, free_port(), free_port()
        cert = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE",
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
        subprocess.run(cert, check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["openssl", "x509", "-in", f"{folder}/cert.pem", "-outform", "der", "-out", f"{folder}/root.der"], check=True)
        (folder / "ports").write_text(f"{self.plain} {self.secure}")
        temps = "".join(f"{t}_temp_path {folder}/{t}; " for t in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (folder / "nginx.conf").write_text(f"""
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err crit; daemon off;
events {{ worker_connections 8192; }}
http {{ access_log off; {temps}
 server {{ listen 127.0.0.1:{self.plain} backlog=4096; location / {{ default_type text/plain; return 200 "ok\\n"; }} }}
 server {{ listen 127.0.0.1:{self.secure} ssl backlog=4096; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
   ssl_session_cache off; ssl_session_tickets off; location / {{ default_type text/plain; return 200 "ok\\n"; }} }} }}
""")
        self.nginx = subprocess.Popen(["taskset", "-c", "1", "nginx", "-c", f"{folder}/nginx.conf"])
        wait_for(self.plain)
        wait_for(self.secure)

    def close(self):
        self.nginx.terminate()
        self.nginx.wait()


def exporter(scene, kind, secs):
    port = free_port()
    (scene.folder / "exporter.yml").write_text(f"""
modules:
  http: {{ prober: http, timeout: 5s, http: {{ preferred_ip_protocol: ip4, follow_redirects: false }} }}
  https: {{ prober: http, timeout: 5s, http: {{ preferred_ip_protocol: ip4, follow_redirects: false, fail_if_not_ssl: true, tls_config: {{ ca_file: {scene.folder}/cert.pem }} }} }}
  tcp: {{ prober: tcp, timeout: 5s, tcp: {{ preferred_ip_protocol: ip4 }} }}
""")
    command = ["taskset", "-c", "0", "prometheus-blackbox-exporter", f"--config.file={scene.folder}/exporter.yml",
               "--log.level=error", "--history.limit=1", f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(command, env={**os.environ, "GOMAXPROCS": "1"})
    try:
        wait_for(port)
        target = {"http": f"http://127.0.0.1:{scene.plain}/", "https": f"https://localhost:{scene.secure}/",
                  "tcp": f"127.0.0.1:{scene.plain}"}[kind]
        url = f"http://127.0.0.1:{port}/probe?module={kind}&target={target}"
        once = subprocess.run(["curl", "-s", url], capture_output=True, text=True).stdout
        if "\nprobe_success 1" not in once:
            sys.exit(f"the exporter's {kind} probe fails:\n{once}")
        before = cpu_s(process.pid)
        said = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{secs}s", "--timeout", "10s", url],
                              capture_output=True, text=True).stdout
        used = cpu_s(process.pid) - before
        looks = int(re.search(r"(\d+) requests in", said).group(1))
        return {"looks": looks, "cpu_us": used * 1e6 / looks, "rss_mb": memory_mb(process.pid)}
    finally:
        process.terminate()
        process.wait()


def linkflow(scene, kind, count, every, secs):
    folder = scene.folder / f"run-{kind}-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("ports", "root.der"):
        shutil.copy(scene.folder / name, folder / name)
    command = ["taskset", "-c", "0", str(TARGET / "release" / "linkflow-bench-monitor"),
               "watch", kind, str(count), str(every), str(secs), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def middle(values):
    return sorted(values)[len(values) // 2]


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--secs", type=int, default=20)
    parse.add_argument("--only", default="http,https,tcp")
    parse.add_argument("--most", type=int, default=10_000, help="how many monitors the wheel is filled with")
    parse.add_argument("--every", type=int, default=20, help="their interval in seconds")
    asked = parse.parse_args()
    for need in ("prometheus-blackbox-exporter", "nginx", "wrk", "openssl", "taskset"):
        if not shutil.which(need):
            sys.exit(f"{need} is not here: apt install prometheus-blackbox-exporter nginx-light wrk openssl util-linux")
    subprocess.run(["cargo", "build", "--release", "--quiet", "--manifest-path", str(HERE / "Cargo.toml")], check=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-monitor-"))
    scene = Scene(folder)
    try:
        print("| look | exporter, CPU | LinkFlow, CPU | ratio | bar |\n|---|---|---|---|---|")
        for kind in asked.only.split(","):
            peers, ours = [], []
            for _ in range(asked.rounds):
                peers.append(exporter(scene, kind, asked.secs))
                ours.append(linkflow(scene, kind, 1_000, 1, asked.secs))
            bad = sum(run["bad"] for run in ours)
            peer, own = middle([run["cpu_us"] for run in peers]), middle([run["cpu_us"] for run in ours])
            note = f", {bad} bad" if bad else ""
            print(f"| {kind} | {peer:.0f} µs | {own:.0f} µs{note} | {own / peer:.2f} | {BARS[kind]:.2f} |", flush=True)
        print(f"\n| monitors every {asked.every} s | looks | bad | first look within one interval | late p50 | p99 | most | CPU of a core | memory, most |\n|---|---|---|---|---|---|---|---|---|")
        for kind in asked.only.split(","):
            for count in (asked.most // 10, asked.most):
                run = linkflow(scene, kind, count, asked.every, 3 * asked.every)
                share = run["cpu_s"] / (3 * asked.every)
                print(f"| {count} {kind} | {run['looks']} | {run['bad']} | {run['in_time']} of {count} | {run['late_p50_ms']} ms | {run['late_p99_ms']} ms | {run['late_most_ms']} ms | {share:.0%} | {run['most_mb']:.0f} MB |", flush=True)
    finally:
        scene.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
