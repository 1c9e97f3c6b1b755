//! How much memory this process holds by itself.

/// Bytes that are in memory and of this process alone, with the page tables that lead to them.
#[expect(clippy::disallowed_methods, reason = "a benchmark asks the kernel what this process has")]
pub(super) fn held() -> Result<u64, String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"));
    let (rollup, status) = (read("/proc/self/smaps_rollup")?, read("/proc/self/status")?);
    let kibibytes = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    let own = kibibytes(&rollup, "Private_Dirty") + kibibytes(&rollup, "Private_Clean");
    Ok((own + kibibytes(&status, "VmPTE")) * 1024)
}
