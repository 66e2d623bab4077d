//! How much memory this process has, by the kernel's word.

/// Memory of this process, in megabytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    /// All that is resident: `VmRSS` of `/proc/self/status`.
    pub(crate) resident_mb: f64,
    /// Of that what is not mapped from a file, which its code is: `RssAnon`.
    pub(crate) allocated_mb: f64,
}

/// The memory of this process. `None` where the kernel does not tell.
pub(crate) fn now() -> Option<Memory> {
    of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn of(status: &str) -> Option<Memory> {
    let megabytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some((kilobytes / 1_024.0 * 10.0).round() / 10.0)
    };
    Some(Memory { resident_mb: megabytes("VmRSS:")?, allocated_mb: megabytes("RssAnon:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tlinkflow\nVmRSS:\t   20480 kB\nRssAnon:\t    7168 kB\nThreads:\t3\n";
        assert_eq!(of(status), Some(Memory { resident_mb: 20.0, allocated_mb: 7.0 }));
        assert_eq!(of("Name:\tlinkflow\n"), None);
    }
}
