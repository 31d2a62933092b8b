//! Which faults there are, and when they strike.
use super::{Client, Ending, WatchFault};
use std::fmt;
use std::str::FromStr;

/// When something goes wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Plan {
    /// Never.
    #[default]
    None,
    /// At one write of a client, counted from 1.
    At {
        client: Client,
        write: usize,
        fault: Fault,
    },
    Random(Rates),
}

impl Plan {
    pub(super) fn most(&self) -> usize {
        match self {
            Plan::None => 0,
            Plan::At { .. } => 1,
            Plan::Random(rates) => rates.most,
        }
    }

    pub fn stormy() -> Self {
        Plan::Random(Rates::stormy())
    }

    /// As [`Plan::stormy`], and once the storage may be put back to an earlier state.
    pub fn with_restore() -> Self {
        Plan::Random(Rates {
            restores: 1,
            ..Rates::stormy()
        })
    }

    pub fn restores(&self) -> usize {
        match self {
            Plan::Random(rates) => rates.restores,
            Plan::None | Plan::At { .. } => 0,
        }
    }

    pub fn is_none(&self) -> bool {
        *self == Plan::None
    }
}

/// How often things go wrong: shares of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    pub write: f64,
    /// Of nodes and controllers.
    pub others: f64,
    pub read: f64,
    pub watch: f64,
    /// Faults in a run, at most.
    pub most: usize,
    /// How often the storage is put back, at most.
    pub restores: usize,
}

impl Rates {
    /// Much goes wrong.
    pub fn stormy() -> Self {
        Self {
            write: 0.12,
            others: 0.03,
            read: 0.05,
            watch: 0.5,
            most: 60,
            restores: 0,
        }
    }

    pub(super) fn write_of(&self, client: Client) -> f64 {
        match client {
            Client::Operator => self.write,
            Client::Controllers | Client::Nodes => self.others,
        }
    }
}

/// What befalls a request, or everything around it while it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    CrashBefore,
    CrashAfter,
    /// The process is stopped between its last check and its send, and another takes over: the write comes 40 s
    /// later.
    Late,
    /// The connection is reset, and nothing was done.
    Unsent,
    /// Done, and the connection is reset.
    ReplyLost,
    Answer(u16),
    /// No answer at all, and nothing was done; or it was.
    Hangs,
    HangsAfter,
    Watches(WatchFault),
    /// The wall clock of the process jumps by so many seconds.
    ClockJump(i64),
    /// The clock that counts suspension jumps: all leases are over.
    BootJump(u64),
    WebhookSlow(u64),
    WebhookDead,
    /// The server's storage is put back to what it was some writes ago.
    Restore,
}

const HOUR: i64 = 3600;

/// What may befall a write.
const WRITES: [Fault; 27] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::Late,
    Fault::Unsent,
    Fault::ReplyLost,
    Fault::Answer(409),
    Fault::Answer(429),
    Fault::Answer(500),
    Fault::Answer(503),
    Fault::Answer(504),
    Fault::Hangs,
    Fault::HangsAfter,
    Fault::Watches(WatchFault::End(Ending::Closed)),
    Fault::Watches(WatchFault::End(Ending::Inside)),
    Fault::Watches(WatchFault::End(Ending::Broken)),
    Fault::Watches(WatchFault::End(Ending::Expired)),
    Fault::Watches(WatchFault::Gone),
    Fault::Watches(WatchFault::LagOfPods),
    Fault::Watches(WatchFault::LagOfOthers),
    Fault::Watches(WatchFault::Twice),
    Fault::Watches(WatchFault::Skips),
    Fault::ClockJump(HOUR),
    Fault::ClockJump(-HOUR),
    Fault::BootJump(60),
    Fault::WebhookSlow(8),
    Fault::WebhookSlow(20),
    Fault::WebhookDead,
];

pub(super) const READ: [Fault; 4] = [
    Fault::Unsent,
    Fault::ReplyLost,
    Fault::Answer(429),
    Fault::Answer(500),
];

pub(super) const WATCH: [Fault; 9] = [
    Fault::Watches(WatchFault::End(Ending::Closed)),
    Fault::Watches(WatchFault::End(Ending::Inside)),
    Fault::Watches(WatchFault::End(Ending::Broken)),
    Fault::Watches(WatchFault::End(Ending::Expired)),
    Fault::Watches(WatchFault::LagOfPods),
    Fault::Watches(WatchFault::LagOfOthers),
    Fault::Watches(WatchFault::Twice),
    Fault::Watches(WatchFault::Skips),
    Fault::Answer(410),
];

impl Fault {
    /// What may befall a write of this client. The operator is what is tested: it meets everything; nodes and
    /// controllers meet what makes them write again, or later.
    pub fn of(client: Client) -> impl Iterator<Item = Fault> {
        WRITES.into_iter().filter(move |fault| fault.befalls(client))
    }

    /// From then on some watches are later than others.
    pub fn lags(self) -> bool {
        matches!(
            self,
            Fault::Watches(WatchFault::LagOfPods | WatchFault::LagOfOthers)
        )
    }

    pub fn sets_the_clock(self) -> bool {
        matches!(self, Fault::ClockJump(_))
    }

    /// The process ends, or its right to write.
    pub fn ends_a_term(self) -> bool {
        matches!(
            self,
            Fault::CrashBefore | Fault::CrashAfter | Fault::Late | Fault::BootJump(_)
        )
    }

    fn befalls(self, client: Client) -> bool {
        let ends_well = |fault| matches!(fault, WatchFault::End(Ending::Closed | Ending::Expired));
        match (client, self) {
            (Client::Operator, _) => true,
            (Client::Controllers, Fault::WebhookSlow(20) | Fault::WebhookDead) => true,
            (_, Fault::CrashBefore | Fault::CrashAfter | Fault::Unsent | Fault::ReplyLost) => true,
            (_, Fault::Answer(code)) => code != 504,
            (_, Fault::Watches(fault)) => ends_well(fault),
            _ => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Answer(code) => write!(f, "answer-{code}"),
            Fault::Watches(fault) => write!(f, "watches-{fault:?}"),
            Fault::ClockJump(seconds) => write!(f, "clock-jump{seconds:+}"),
            Fault::BootJump(seconds) => write!(f, "boot-jump+{seconds}"),
            Fault::WebhookSlow(seconds) => write!(f, "webhook-slow-{seconds}"),
            plain => write!(f, "{plain:?}"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    /// What [`Fault`] prints.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = WRITES
            .into_iter()
            .chain([Fault::Restore])
            .find(|f| f.to_string() == text);
        found.ok_or_else(|| format!("{text:?} is no fault"))
    }
}
