//! How much memory this process has, by the kernel's word.

/// Resident memory of this process (`VmRSS` of `/proc/self/status`), in megabytes. `None` where there is no such file.
pub(crate) fn resident_mb() -> Option<f64> {
    of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn of(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kilobytes / 1_024.0 * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(of("Name:\tlinkflow\nVmRSS:\t   20480 kB\nThreads:\t3\n"), Some(20.0));
        assert_eq!(of("Name:\tlinkflow\n"), None);
    }
}
