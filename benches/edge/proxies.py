"""The proxies of the yardstick: name to what starts it in a folder of its own."""
import os, resource, shlex, shutil
from pathlib import Path

from scene import A, B, C, BIN, HERE, PORT, TLS_PORT, certificate


SMALL = 10  # so many requests at once are all that a small target stands


def which(env, *names):
    given = [os.environ[env]] if env in os.environ else [shutil.which(n) for n in names]
    return next((p for p in given if p and Path(p).exists()), None)


def render(name, d, **kw):
    # HAProxy refuses to begin where the files a process may open are fewer than twice its connections.
    kw["MOST"] = min(16_384, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 100)
    t = (HERE / name).read_text()
    chain, key, pem = certificate()
    usual = dict(LIMIT="", THIRD="", PORT=PORT, TLS=TLS_PORT, CHAIN=chain, KEY=key, PEM=pem, A=A, B=B, DIR=d)
    for k, v in dict(usual, **kw).items():
        t = t.replace(f"@{k}@", str(v))
    f = Path(d) / Path(name).name
    f.write_text(t)
    return str(f)


def edges():
    """LinkFlow's edge as it is handed out, where `train.py` has built it, and as cargo alone builds it."""
    trained, plain = HERE / "target/trained/edge", BIN / "edge"
    both = {"linkflow": trained, "linkflow-plain": plain} if trained.exists() else {"linkflow": plain}
    return {name: edge for name, edge in both.items() if edge.exists()}


def proxies():
    """Those whose binary is there."""
    P = {}
    a, b = f"127.0.0.1:{A}", f"127.0.0.1:{B}"
    for name, edge in edges().items():
        P[name] = lambda d, edge=edge: [str(edge), str(PORT), *certificate()[:2], f"http://{a}", f"http://{b}"]
    if h := which("HAPROXY", "haproxy", "/usr/sbin/haproxy"):
        P["haproxy"] = lambda d: [h, "-db", "-f", render("conf/haproxy.cfg", d, SHAPE="backup")]
        P["haproxy-w"] = lambda d: [h, "-db", "-f", render("conf/haproxy.cfg", d, SHAPE="")]
    if n := which("NGINX", "nginx", "/usr/sbin/nginx"):
        P["nginx"] = lambda d: [n, "-e", f"{d}/nginx.err", "-c", render("conf/nginx.conf", d)]
    if e := which("ENVOY", "envoy"):
        def envoy(per_try, hedge):
            def make(d):
                conf = render("conf/envoy.yaml", d, PERTRY=per_try, HEDGE=hedge)
                return [e, "--concurrency", "2", "-l", "off", "--disable-hot-restart", "-c", conf]
            return make
        P["envoy"] = envoy("1s", "false")
        P["envoy-hedge"] = envoy("0.1s", "true")
    for item in filter(None, os.environ.get("MINE", "").split(";")):
        k, cmd = item.split("=", 1)
        P[k] = lambda d, cmd=cmd: shlex.split(cmd.format(port=PORT, a=a, b=b, dir=d))
    return P


def special(part):
    """The same for what only some can be set up for: three targets, other routes while they serve, a limit for each target."""
    P, urls = {}, [f"http://127.0.0.1:{port}" for port in (A, B, C)]
    for name, edge in edges().items():
        limit = ["env", f"MOST={SMALL}"] if part == "overload" else []
        P[name] = lambda d, edge=edge, limit=limit: [*limit, str(edge), str(PORT), *certificate()[:2], *urls[: 3 if part == "three" else 2]]
    if h := which("HAPROXY", "haproxy", "/usr/sbin/haproxy"):
        kw = dict(SHAPE="backup")
        if part == "three":
            kw["THIRD"] = f"server c 127.0.0.1:{C} weight 1 backup"
        if part == "overload":
            kw["LIMIT"] = f"maxconn {SMALL} maxqueue 64"
        P["haproxy"] = lambda d: [h, "-W", "-db", "-f", render("conf/haproxy.cfg", d, **kw)]
    return P
