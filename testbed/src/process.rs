//! Processes that outlive the command that starts them, found again by pid files.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{TestbedError, io};

/// Runs to the end and returns standard output; a failure carries the tail of standard error.
pub fn run(command: &mut Command, what: &str) -> Result<String, TestbedError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| missing(command, what, source))?;
    finish(&output, what)
}

/// As [`run`], with `input` on standard input.
pub fn run_with_input(command: &mut Command, input: &[u8], what: &str) -> Result<String, TestbedError> {
    use std::io::Write as _;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| missing(command, what, source))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input)
            .map_err(io(format!("{what}: writing its input")))?;
    }
    let output = child.wait_with_output().map_err(io(what))?;
    finish(&output, what)
}

fn missing(command: &Command, what: &str, source: std::io::Error) -> TestbedError {
    if source.kind() == std::io::ErrorKind::NotFound {
        return TestbedError::MissingTool(command.get_program().to_string_lossy().into_owned());
    }
    TestbedError::Io {
        what: what.to_owned(),
        source,
    }
}

fn finish(output: &std::process::Output, what: &str) -> Result<String, TestbedError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = text.lines().rev().take(12).collect();
    Err(TestbedError::Command {
        what: what.to_owned(),
        status: output.status.to_string(),
        output: tail.into_iter().rev().collect::<Vec<_>>().join("\n"),
    })
}

/// A folder of pid files and logs.
#[derive(Debug, Clone)]
pub struct Processes {
    dir: PathBuf,
}

impl Processes {
    pub fn new(dir: &Path) -> Result<Self, TestbedError> {
        for sub in ["pids", "log"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).map_err(io(format!("creating {}", path.display())))?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// Starts in a session of its own, so that a Ctrl-C meant for us does not reach it.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<(), TestbedError> {
        if self.alive(name) {
            return Ok(());
        }
        let log = self.log(name);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(io(format!("opening {}", log.display())))?;
        let errors = file
            .try_clone()
            .map_err(io(format!("opening {}", log.display())))?;
        let mut session = Command::new("setsid");
        session.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => session.env(key, value),
                None => session.env_remove(key),
            };
        }
        session.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = session
            .spawn()
            .map_err(|source| missing(&session, name, source))?;
        self.write_pid(name, child.id())
    }

    /// As [`Self::start`], started again when it ends: the controller manager ends when its API server restarts.
    pub fn start_supervised(&self, name: &str, command: &Command) -> Result<(), TestbedError> {
        const LOOP: &str = "trap 'kill $child 2>/dev/null; exit 0' TERM INT; \
             while :; do \"$@\" & child=$!; wait $child; echo \"exited with $?\"; sleep 1; done";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", LOOP, name])
            .arg(command.get_program())
            .args(command.get_args());
        self.start(name, &mut shell)
    }

    pub fn alive(&self, name: &str) -> bool {
        self.pid(name).is_some_and(running)
    }

    /// SIGTERM, then SIGKILL after `patience`.
    pub fn stop(&self, name: &str, patience: Duration) {
        let Some(pid) = self.pid(name) else { return };
        signal(pid, "TERM");
        let deadline = Instant::now() + patience;
        while running(pid) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        if running(pid) {
            signal(pid, "KILL");
        }
        // The pid file of a process that is gone says nothing any more; a leftover is harmless.
        fs::remove_file(self.pid_file(name)).ok();
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.dir.join("pids").join(name)
    }

    pub fn pid(&self, name: &str) -> Option<u32> {
        fs::read_to_string(self.pid_file(name)).ok()?.trim().parse().ok()
    }

    fn write_pid(&self, name: &str, pid: u32) -> Result<(), TestbedError> {
        let path = self.pid_file(name);
        fs::write(&path, pid.to_string()).map_err(io(format!("writing {}", path.display())))
    }
}

/// A zombie (a child of ours that ended) does not run.
fn running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
}

fn signal(pid: u32, name: &str) {
    // Fails only when the process is gone, which is what we want.
    Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .ok();
}

/// Waits until `ready` says so. Starting real programs is the one place where asking again is all there is.
pub fn wait_until(
    process: &str,
    log: &Path,
    seconds: u64,
    mut ready: impl FnMut() -> bool,
) -> Result<(), TestbedError> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !ready() {
        if Instant::now() > deadline {
            return Err(TestbedError::NotReady {
                process: process.to_owned(),
                seconds,
                log: log.to_owned(),
            });
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// An exclusive lock held as long as the returned file lives.
pub fn lock(path: &Path) -> Result<File, TestbedError> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(io(format!("creating {}", dir.display())))?;
    }
    let file = File::create(path).map_err(io(format!("opening {}", path.display())))?;
    file.lock().map_err(io(format!("locking {}", path.display())))?;
    Ok(file)
}
