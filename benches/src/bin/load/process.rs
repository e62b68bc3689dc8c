//! What the kernel says about the server's process: memory, CPU, descriptors, its end.
//!
//! Owns the reading of /proc. It deliberately does not know which server it is.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open, pidfd_send_signal, prlimit,
};

/// A process that is watched from outside.
pub struct Process {
    dir: String,
    pid: Pid,
    // Names the process even after its end, when its pid may be another's.
    handle: OwnedFd,
}

impl Process {
    pub fn new(pid: i32) -> Result<Self> {
        let id = Pid::from_raw(pid).context("a pid is above 0")?;
        let handle =
            pidfd_open(id, PidfdFlags::empty()).with_context(|| format!("process {pid}"))?;
        Ok(Self { dir: format!("/proc/{pid}"), pid: id, handle })
    }

    /// CPU time in ns of all threads that there are: user, system, and what the kernel does on their behalf.
    pub fn cpu(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("{}/task", self.dir)).context("the server is gone")? {
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path)
                .context("no schedstat: a kernel without CONFIG_SCHED_INFO has no CPU figures")?;
            let first = text.split(' ').next().unwrap_or_default();
            sum += first.parse::<u64>().with_context(|| path.display().to_string())?;
        }
        Ok(sum)
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("{}/smaps_rollup", self.dir))?;
        let Some(line) = text.lines().find_map(|line| line.strip_prefix("Rss:")) else {
            bail!("no Rss in smaps_rollup");
        };
        line.trim().trim_end_matches(" kB").parse().context("Rss is a number of kB")
    }

    /// How many descriptors it holds.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("{}/fd", self.dir))?.count())
    }

    /// Changes how many descriptors it may hold from now on; how many they were.
    pub fn limit_descriptors(&self, number: u64) -> Result<u64> {
        let before = prlimit(
            Some(self.pid),
            Resource::Nofile,
            Rlimit { current: Some(number), maximum: self.most_descriptors()? },
        );
        Ok(before.context("prlimit")?.current.unwrap_or(u64::MAX))
    }

    /// The hard limit, which stays.
    fn most_descriptors(&self) -> Result<Option<u64>> {
        let text = fs::read_to_string(format!("{}/limits", self.dir))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
        let hard = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(hard.context("no \"Max open files\" in limits")?.parse().ok())
    }

    /// Asks it to stop.
    pub fn terminate(&self) -> Result<()> {
        pidfd_send_signal(&self.handle, Signal::TERM).context("SIGTERM")
    }

    /// Ends it at once.
    pub fn kill(&self) -> Result<()> {
        pidfd_send_signal(&self.handle, Signal::KILL).context("SIGKILL")
    }

    /// Asks it to stop for a restart, as the unit does: SIGWINCH is the mark that clients are to be kept.
    pub fn restart(&self) -> Result<()> {
        pidfd_send_signal(&self.handle, Signal::WINCH).context("SIGWINCH")?;
        self.terminate()
    }

    /// Whether it ended within `time`.
    pub fn ended(&self, time: Duration) -> Result<bool> {
        let time = Timespec::try_from(time)?;
        Ok(poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&time))? > 0)
    }
}

/// CPU time in ns of this process, whose one thread is the main one.
pub fn own_cpu() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    text.split(' ').next().unwrap_or_default().parse().context("/proc/self/schedstat")
}
