//! How much memory this process may still take.

/// The share of the free memory that an image may take: kernels need room of their own, and so do other programs.
const OURS: f64 = 0.7;

/// How many bytes feature maps may take on this machine, or `None` if the system does not say: most of the free memory,
/// or of what is left below the limits of the process (`ulimit -v`) and of its control groups (containers, Slurm,
/// systemd).
///
/// Use it as the [memory limit](super::Options::memory_limit) of networks on the CPU.
pub fn free_memory() -> Option<u64> {
    system::free().map(|free| (free as f64 * OURS) as u64)
}

#[cfg(not(target_os = "linux"))]
mod system {
    use sysinfo::{MemoryRefreshKind, System};

    pub(super) fn free() -> Option<u64> {
        let mut system = System::new();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        Some(system.available_memory()).filter(|free| *free > 0)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::path::{Component, Path, PathBuf};

    /// The smallest of what the system, the process's limits and its control groups leave.
    pub(super) fn free() -> Option<u64> {
        free_below(Path::new("/"))
    }

    /// Like [`free`], but reads the files below another root.
    pub(super) fn free_below(root: &Path) -> Option<u64> {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let (limits, status) = (read("proc/self/limits"), read("proc/self/status"));
        let available = kibibytes(&read("proc/meminfo"), "MemAvailable:");
        let address_space = limit(&limits, "Max address space", kibibytes(&status, "VmSize:"));
        let data = limit(&limits, "Max data size", kibibytes(&status, "VmData:"));
        let groups = groups(root, &read("proc/self/cgroup"), &read("proc/self/mountinfo"));
        [available, address_space, data].into_iter().flatten().chain(groups).min()
    }

    /// A line such as `MemAvailable:   12345 kB`, in bytes.
    fn kibibytes(text: &str, name: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    }

    /// What is left of a soft limit of `/proc/self/limits`; `None` where it is unlimited.
    fn limit(text: &str, name: &str, used: Option<u64>) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let soft: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(soft.saturating_sub(used.unwrap_or(0)))
    }

    /// The names of a control group's files.
    struct Files {
        limits: &'static [&'static str],
        used: &'static str,
        /// The name in memory.stat of the page cache that the kernel reclaims first.
        reclaimable: &'static str,
    }

    const VERSION_1: Files = Files {
        limits: &["memory.limit_in_bytes"],
        used: "memory.usage_in_bytes",
        reclaimable: "total_inactive_file ",
    };
    const VERSION_2: Files =
        Files { limits: &["memory.max", "memory.high"], used: "memory.current", reclaimable: "inactive_file " };

    /// What each control group that limits the process's memory leaves: its own group and all groups around it
    /// (cgroups(7)).
    fn groups(root: &Path, memberships: &str, mounts: &str) -> Vec<u64> {
        let mut left = vec![];
        for line in memberships.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let files = match controllers {
                "" => VERSION_2,
                _ if controllers.split(',').any(|controller| controller == "memory") => VERSION_1,
                _ => continue,
            };
            let Some((mut folder, top)) = folder(path, mounts, controllers.is_empty()) else { continue };
            loop {
                left.extend(group(&root.join(folder.strip_prefix("/").unwrap_or(&folder)), &files));
                if folder == top || !folder.pop() {
                    break;
                }
            }
        }
        left
    }

    /// The folder of a control group, and that of the topmost visible group.
    fn folder(path: &str, mounts: &str, unified: bool) -> Option<(PathBuf, PathBuf)> {
        mounts.lines().find_map(|line| {
            // id, parent, device, root, mount point, options and more; then a dash, type, source, options (proc(5)).
            let (mount, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let fits = match (kind.next()?, unified) {
                ("cgroup2", true) => true,
                ("cgroup", false) => kind.nth(1)?.split(',').any(|option| option == "memory"),
                _ => false,
            };
            let mut mount = mount.split(' ').skip(3);
            let (visible, point) = (mount.next()?, PathBuf::from(mount.next()?));
            if !fits {
                return None;
            }
            // A container may see only its own group, or a path that leads outside of what it sees.
            let below = Path::new(path).strip_prefix(visible).ok();
            let below = below.filter(|below| below.components().all(|part| matches!(part, Component::Normal(_))));
            Some((below.map_or(point.clone(), |below| point.join(below)), point))
        })
    }

    fn group(folder: &Path, files: &Files) -> Option<u64> {
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = files.limits.iter().filter_map(|name| number(name)).min()?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let reclaimable = stat.lines().find_map(|line| line.strip_prefix(files.reclaimable)?.trim().parse().ok());
        let used = number(files.used)?.saturating_sub(reclaimable.unwrap_or(0));
        Some(limit.saturating_sub(used))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::path::Path;

    use super::system::free_below;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_system_says_how_much_is_free() {
        assert!(super::free_memory().unwrap() > MIB);
    }

    /// A root with some files below `proc/self` and `sys/fs/cgroup`.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let meminfo = [("proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable:    2048000 kB\n")];
        for (path, text) in meminfo.iter().chain(files) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn free(files: &[(&str, &str)]) -> Option<u64> {
        free_below(root(files).path())
    }

    #[test]
    fn without_limits_what_is_available_is_free() {
        assert_eq!(free(&[]), Some(2000 * MIB));
        let unlimited = "Max data size             unlimited            unlimited            bytes\n";
        assert_eq!(free(&[("proc/self/limits", unlimited)]), Some(2000 * MIB));
        assert_eq!(free_below(Path::new("/no/such/root")), None);
    }

    #[test]
    fn limits_of_the_process_count_with_what_it_has() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max address space         524288000            unlimited            bytes\n";
        let status = "VmSize:\t  102400 kB\n";
        assert_eq!(free(&[("proc/self/limits", limits), ("proc/self/status", status)]), Some(400 * MIB));
    }

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_tightest_of_nested_groups_counts_whichever_it_is() {
        let groups = |outer: &'static str, inner: &'static str| {
            free(&[
                ("proc/self/cgroup", "0::/job.slice/step.scope\n"),
                ("proc/self/mountinfo", UNIFIED),
                ("sys/fs/cgroup/job.slice/memory.max", outer),
                ("sys/fs/cgroup/job.slice/memory.current", "104857600\n"),
                ("sys/fs/cgroup/job.slice/memory.stat", "anon 1\ninactive_file 52428800\n"),
                ("sys/fs/cgroup/job.slice/step.scope/memory.max", inner),
                ("sys/fs/cgroup/job.slice/step.scope/memory.current", "0\n"),
            ])
        };
        assert_eq!(groups("max\n", "max\n"), Some(2000 * MIB));
        assert_eq!(groups("209715200\n", "max\n"), Some(150 * MIB));
        assert_eq!(groups("209715200\n", "10485760\n"), Some(10 * MIB));
    }

    #[test]
    fn a_soft_limit_counts_too() {
        let files = [
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", UNIFIED),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.high", "104857600\n"),
            ("sys/fs/cgroup/memory.current", "1048576\n"),
        ];
        assert_eq!(free(&files), Some(99 * MIB));
    }

    /// A container without its own cgroup namespace sees its group at the mount point, but also its full path.
    #[test]
    fn version_1_is_read_where_a_container_mounts_it() {
        let mounts = "31 23 0:27 /docker/abc /sys/fs/cgroup/memory ro shared:5 - cgroup cgroup rw,memory\n";
        let files = [
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n"),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "314572800\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "209715200\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 104857600\n"),
        ];
        assert_eq!(free(&files), Some(200 * MIB));
    }
}
