//! A disk that keeps only what was synced: a cut of the power drops, tears or keeps everything else at random.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::StorageBackend;

#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What it held before the first operation.
    first: Vec<u8>,
    log: Vec<Operation>,
    /// What the running program sees: everything, synced or not.
    visible: Vec<u8>,
    /// From this operation on everything fails.
    dies_at: Option<usize>,
}

#[derive(Debug, Clone)]
enum Operation {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

/// How the power goes: what becomes of writes that were not synced.
#[derive(Debug, Clone, Copy)]
pub enum Tear {
    AllLost,
    AllKept,
    /// Each is lost, torn at any byte (from either end), or kept.
    Random(u64),
}

impl Disk {
    pub fn of(bytes: Vec<u8>) -> Self {
        let state = State {
            visible: bytes.clone(),
            first: bytes,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn dying_at(self, operation: usize) -> Self {
        self.lock().dies_at = Some(operation);
        self
    }

    /// Writes, changes of length and syncs so far.
    pub fn operations(&self) -> usize {
        self.lock().log.len()
    }

    /// The disk as it is, for a look at every moment of its life.
    pub fn history(&self) -> History {
        let state = self.lock();
        History {
            log: state.log.clone(),
            synced: state.first.clone(),
            unsynced: 0..0,
        }
    }

    /// What is there after the power went now.
    pub fn after_power_cut(&self, tear: Tear) -> Vec<u8> {
        let mut history = self.history();
        let end = history.log.len();
        history.advance_to(end);
        history.after_power_cut(tear)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn perform(&self, operation: Operation) -> io::Result<()> {
        let mut state = self.lock();
        if state.dies_at.is_some_and(|at| state.log.len() >= at) {
            return Err(io::Error::other("the power is out"));
        }
        apply(&mut state.visible, &operation);
        state.log.push(operation);
        Ok(())
    }
}

/// A disk's life, walked through from its beginning.
#[derive(Clone)]
pub struct History {
    log: Vec<Operation>,
    synced: Vec<u8>,
    unsynced: std::ops::Range<usize>,
}

impl History {
    /// To the moment before operation `at`.
    pub fn advance_to(&mut self, at: usize) {
        while self.unsynced.end < at {
            if let Operation::Sync = self.log[self.unsynced.end] {
                for operation in &self.log[self.unsynced.clone()] {
                    apply(&mut self.synced, operation);
                }
                self.unsynced.start = self.unsynced.end + 1;
            }
            self.unsynced.end += 1;
        }
    }

    pub fn after_power_cut(&self, tear: Tear) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let mut rng = match tear {
            Tear::Random(seed) => Some(StdRng::seed_from_u64(seed)),
            Tear::AllLost => return bytes,
            Tear::AllKept => None,
        };
        for operation in &self.log[self.unsynced.clone()] {
            match (operation, rng.as_mut().map_or(2, |rng| rng.random_range(0..3))) {
                (_, 0) => {}
                (Operation::Write(at, data), 1) => {
                    let rng = rng.as_mut().unwrap();
                    let tear = rng.random_range(0..=data.len());
                    let part = match rng.random() {
                        true => Operation::Write(*at, data[..tear].to_vec()),
                        false => Operation::Write(*at + tear, data[tear..].to_vec()),
                    };
                    apply(&mut bytes, &part);
                }
                _ => apply(&mut bytes, operation),
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Sync => {}
        Operation::Length(length) => bytes.resize(*length, 0),
        Operation::Write(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().visible.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = position(offset);
        out.copy_from_slice(&self.lock().visible[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.perform(Operation::Length(position(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.perform(Operation::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.perform(Operation::Write(position(offset), data.to_vec()))
    }
}
