"""What a run is made of: targets, the proxy between, and what is measured of its process."""
import os, re, signal, socket, subprocess as sp, time, urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(os.environ.get("BIN", HERE / "target/release"))
OUT = Path(os.environ.get("OUT", HERE / "out")).resolve()
A, B, C, PORT, TLS_PORT = 21101, 21102, 21103, 21200, 21201
CHECK_SETTLE = 1.5  # seconds a proxy gets to see all targets healthy


def wait_port(port, secs=10):
    end = time.time() + secs
    while time.time() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"nothing listens on {port}")


def get(port, path, tries=1):
    for i in range(tries):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as r:
                return r.status
        except Exception:
            if i == tries - 1:
                raise
            time.sleep(0.05)


def certificate():
    """A certificate that nobody vouches for, and its key: for proxies that speak TLS."""
    chain, key = OUT / "chain.pem", OUT / "key.pem"
    if not (OUT / "both.pem").exists():
        sp.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", chain],
               check=True, capture_output=True)
        (OUT / "both.pem").write_text(chain.read_text() + key.read_text())
    return str(chain), str(key), str(OUT / "both.pem")


def cpu(pid):
    """User and system time of a process so far, in seconds: of all threads, from the scheduler, finer than ticks."""
    threads = os.listdir(f"/proc/{pid}/task")
    return sum(int(Path(f"/proc/{pid}/task/{t}/schedstat").read_text().split()[0]) for t in threads) / 1e9


class Up:
    """A target: a process of `src/bin/up.rs`."""
    def __init__(self, name, port, log=None):
        self.name, self.port, self.log = name, port, log
        self.start()

    def start(self):
        self.p = sp.Popen([str(BIN / "up"), self.name, str(self.port)] + ([str(self.log)] if self.log else []))
        wait_port(self.port)
        if self.p.poll() is not None:
            raise RuntimeError(f"somebody else listens on {self.port}")

    def kill(self):
        self.p.send_signal(signal.SIGKILL); self.p.wait()

    def sig(self, s):
        self.p.send_signal(s)

    def mode(self, m):
        get(self.port, "/_ctl?" + m)

    def asked(self):
        """How many pages and writes it was asked for so far, checks not counted."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_count", timeout=2) as r:
            return int(r.headers["x-asked"])

    def stop(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGCONT); self.kill()


class Hole:
    """A port where connects hang: a listener with a full queue that never accepts."""
    def __init__(self, port):
        self.s = socket.socket(); self.s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.s.bind(("127.0.0.1", port)); self.s.listen(0); self.fill = []
        for _ in range(4):
            c = socket.socket(); c.setblocking(False)
            try:
                c.connect(("127.0.0.1", port))
            except BlockingIOError:
                pass
            self.fill.append(c)

    def close(self):
        for c in self.fill + [self.s]:
            c.close()


class Proxy:
    """A proxy in a process group of its own."""
    def __init__(self, make, d):
        d.mkdir(parents=True, exist_ok=True)
        self.log = open(d / "log", "wb")
        env = dict(os.environ, HOME=str(d), GOMAXPROCS="2", RUST_LOG="off", TOKIO_WORKER_THREADS="2")
        self.p = sp.Popen(make(str(d)), stdout=self.log, stderr=self.log, start_new_session=True, env=env, cwd=d)
        wait_port(PORT)
        if get(PORT, "/", tries=100) != 200:
            raise RuntimeError("the proxy does not lead to the target")
        time.sleep(CHECK_SETTLE)

    def reload(self):
        """Has it serve by other routes; each has a signal of its own for that."""
        self.p.send_signal(signal.SIGUSR2 if "haproxy" in str(self.p.args[0]) else signal.SIGHUP)

    def pids(self):
        kids, todo = [], [self.p.pid]
        while todo:
            x = todo.pop(); kids.append(x)
            try:
                for t in os.listdir(f"/proc/{x}/task"):
                    todo += [int(y) for y in Path(f"/proc/{x}/task/{t}/children").read_text().split()]
            except OSError:
                pass
        return kids

    def mem(self):
        """Proportional set size, in MB."""
        rollups = (Path(f"/proc/{x}/smaps_rollup").read_text() for x in self.pids())
        return sum(int(re.search(r"^Pss:\s+(\d+)", t, re.M)[1]) for t in rollups) / 1024

    def cpu(self):
        """User and system time so far, in seconds."""
        return sum(map(cpu, self.pids()))

    def stop(self):
        for sgn in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.p.pid, sgn)  # the group made for this child alone
                self.p.wait(3)
                break
            except ProcessLookupError:
                break
            except sp.TimeoutExpired:
                pass
        try:
            os.killpg(self.p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.log.close()
        end = time.time() + 5
        while time.time() < end:
            try:
                socket.create_connection(("127.0.0.1", PORT), 0.1).close(); time.sleep(0.05)
            except OSError:
                return
