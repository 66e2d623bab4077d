//! What the machine says of itself.

use super::Machine;

impl Machine {
    /// This machine, as Linux describes it in `/proc` and `/etc/os-release`; what cannot be read is 0 or "unknown".
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64);
        let memory_mb = memory_mb(&read("/proc/meminfo")).unwrap_or_default();
        let system = name(&read("/etc/os-release")).unwrap_or_else(|| "unknown".to_owned());
        let kernel = read("/proc/sys/kernel/osrelease");
        let os = match kernel.trim() {
            "" => system,
            kernel => format!("{system}, Linux {kernel}"),
        };
        Self { cpus, memory_mb, os }
    }
}

fn memory_mb(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024)
}

fn name(os_release: &str) -> Option<String> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_from_what_linux_says() {
        assert_eq!(memory_mb("MemTotal:        8048576 kB\nMemFree: 1 kB\n"), Some(7_859));
        assert_eq!(memory_mb("nothing"), None);
        let text = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(name(text).unwrap(), "Debian GNU/Linux 12 (bookworm)");
        assert!(Machine::here().cpus >= 1);
    }
}
