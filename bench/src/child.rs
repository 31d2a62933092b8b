//! Parts of a benchmark that run in processes of their own, so that what they use is told apart.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{BenchError, io};

/// A process that ends with us.
pub struct Part {
    child: Child,
    output: Option<BufReader<std::process::ChildStdout>>,
}

impl Part {
    /// Starts this program again with a command of its own; its complaints go to `log`.
    pub fn start(args: &[&str], log: &Path) -> Result<Self, BenchError> {
        let program = std::env::current_exe().map_err(io("finding this program"))?;
        Self::of(Command::new(program).args(args), log)
    }

    pub fn of(command: &mut Command, log: &Path) -> Result<Self, BenchError> {
        let errors = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(io(format!("opening {}", log.display())))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(io(format!("starting {}", command.get_program().display())))?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its next line.
    pub fn line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        if let Some(output) = &mut self.output {
            output
                .read_line(&mut line)
                .map_err(io("reading what a part says"))?;
        }
        match line.trim_end() {
            "" => Err(BenchError::Setup(
                "a part of the benchmark ended early".to_owned(),
            )),
            line => Ok(line.to_owned()),
        }
    }

    /// SIGTERM, and SIGKILL for who does not heed it.
    pub fn stop(&mut self) {
        Command::new("kill")
            .args(["-s", "TERM", &self.pid().to_string()])
            .status()
            .ok();
        let deadline = Instant::now() + Duration::from_secs(15);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}
