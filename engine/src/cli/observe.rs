//! `foreshift trace` and `foreshift capture`: the asking side.

use super::Engine;
use crate::api::{Answer, Request};
use crate::observe::trace::PacketTrace;
use crate::observe::wire::{End, HEADER, Message};
use crate::observe::{ObserveRequest, SECONDS_MAX, SNAPLEN_MAX, WatchRequest};
use anyhow::{Context as _, Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, ValueEnum};
use dataplane::drop_reason::DropReason;
use dataplane::observe::session::{Directions, Side};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Under `--help` of both.
pub const FILTER_HELP: &str = "\
Filter:
  host ADDRESS, net PREFIX, port N or N-M    either end, or after src or dst
  tcp, udp, icmp, icmp6, esp, gre, sctp, proto N, ip, ip6
  tunnel NAME                                out of it or into it (trace and --drop)
  and, or, not, ( )
A test holds of either header of a tunnel packet; before a test, `outer` means the GRE or ESP packet's own IP header
and `inner` what it carries (of any other packet: its only header). A trace and --drop look at packets as they came in
and, out of a tunnel of this engine, at what was in it. A capture of a port or tunnel looks at the bytes it writes, so
that it sees into GRE but not into ESP.";

/// What `trace` takes.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// Which packets, as in: host 10.1.0.10 and not tcp
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    #[command(flatten)]
    limits: Limits,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: Engine,
}

/// What `capture` takes.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("watch").required(true).args(["port", "tunnel", "drop"])))]
pub struct CaptureArguments {
    /// Frames of a port
    #[arg(long, value_name = "NAME")]
    port: Option<String>,
    /// Packets of a tunnel
    #[arg(long, value_name = "NAME", requires = "side")]
    tunnel: Option<String>,
    /// Before encapsulation, or as on the wire without the link header
    #[arg(long, value_enum, conflicts_with_all = ["port", "drop"])]
    side: Option<SideName>,
    /// Packets dropped for a reason of `foreshift show drops`, as they came in; `any` leaves out what did its work here
    #[arg(long, value_name = "REASON", value_parser = reasons(), hide_possible_values = true)]
    drop: Option<String>,
    /// Which way the packets of the port or tunnel go [default: both]
    #[arg(long, value_enum, conflicts_with = "drop")]
    direction: Option<DirectionName>,
    /// Which packets, as in: 'host 10.1.0.10 and not tcp'
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    /// Bytes kept of each packet [default: all]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=i64::from(SNAPLEN_MAX)))]
    snaplen: Option<u32>,
    #[command(flatten)]
    limits: Limits,
    /// The pcapng file; `-` for standard output, as in `… -w - | tshark -i -`
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    write: PathBuf,
    #[command(flatten)]
    engine: Engine,
}

/// When to end. Ctrl-C ends too.
#[derive(Debug, Args)]
struct Limits {
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SECONDS_MAX)))]
    seconds: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SideName {
    /// Inner packets
    Inside,
    /// Outer packets
    Outside,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DirectionName {
    /// Coming in
    Rx,
    /// Going out
    Tx,
    /// Either
    Both,
}

impl From<DirectionName> for Directions {
    fn from(name: DirectionName) -> Directions {
        match name {
            DirectionName::Rx => Directions::Rx,
            DirectionName::Tx => Directions::Tx,
            DirectionName::Both => Directions::Both,
        }
    }
}

fn reasons() -> PossibleValuesParser {
    let names = DropReason::ALL.iter().map(|reason| reason.name());
    PossibleValuesParser::new(["any"].into_iter().chain(names))
}

impl CaptureArguments {
    fn watch(&self) -> Result<WatchRequest> {
        let directions = self.direction.map_or(Directions::Both, Directions::from);
        Ok(match (&self.port, &self.tunnel, &self.drop) {
            (Some(name), ..) => WatchRequest::Port { name: name.clone(), directions },
            (_, Some(name), _) => WatchRequest::Tunnel {
                name: name.clone(),
                side: match self.side {
                    Some(SideName::Inside) => Side::Inside,
                    Some(SideName::Outside) => Side::Outside,
                    None => bail!("say which side of the tunnel: --side inside or --side outside"),
                },
                directions,
            },
            (_, _, Some(reason)) => WatchRequest::Drop { reason: reason.clone() },
            _ => bail!("say what to capture: --port, --tunnel or --drop"),
        })
    }
}

/// Prints traces as they come.
pub fn trace(arguments: &TraceArguments) -> Result<()> {
    let request = ObserveRequest {
        watch: WatchRequest::Trace,
        filter: arguments.filter.join(" "),
        snaplen: None,
        count: arguments.limits.count,
        seconds: arguments.limits.seconds,
    };
    let mut out = io::stdout().lock();
    let mut print = |trace: &PacketTrace| -> io::Result<()> {
        if arguments.json {
            writeln!(out, "{}", serde_json::to_string(trace)?)
        } else {
            writeln!(out, "{}", trace.text())
        }
    };
    let end = watch(&arguments.engine.socket()?, request, |message| match message {
        Message::Trace(trace) => print(&trace),
        _ => Ok(()),
    })?;
    report(&end, "traced", "");
    Ok(())
}

/// Writes a capture as it comes.
pub fn capture(arguments: &CaptureArguments) -> Result<()> {
    let request = ObserveRequest {
        watch: arguments.watch()?,
        filter: arguments.filter.clone(),
        snaplen: arguments.snaplen,
        count: arguments.limits.count,
        seconds: arguments.limits.seconds,
    };
    let path = &arguments.write;
    let socket = arguments.engine.socket()?;
    let to_stdout = path.as_os_str() == "-";
    if to_stdout && io::stdout().is_terminal() {
        bail!(
            "a capture is no text for a terminal: write it to a file with -w FILE, or pipe it into `tshark -i -`"
        );
    }
    let mut out: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(path).with_context(|| format!("{} cannot be written", path.display()))?)
    };
    let end = watch(&socket, request, |message| match message {
        Message::Pcapng(bytes) => out.write_all(&bytes).and_then(|()| out.flush()),
        _ => Ok(()),
    })?;
    report(&end, "captured", &if to_stdout { String::new() } else { format!(" to {}", path.display()) });
    Ok(())
}

/// What came of it, to standard error: standard output is the packets'.
fn report(end: &Option<End>, done: &str, place: &str) {
    let Some(End { shown, lost, over_rate, why }) = end else { return };
    let packets = if *shown == 1 { "packet" } else { "packets" };
    eprintln!("{shown} {packets} {done}{place}: {why}");
    if *lost > 0 {
        eprintln!("{lost} packets lost: they came faster than they could be taken; narrow the filter");
    }
    if *over_rate > 0 {
        eprintln!("{over_rate} packets passed over to spare the workers; narrow the filter");
    }
}

/// Asks for an observation and gives each message to `show` until the last one, Ctrl-C, or a reader that has gone.
fn watch(
    socket: &Path,
    request: ObserveRequest,
    show: impl FnMut(Message) -> io::Result<()>,
) -> Result<Option<End>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(converse(socket, request, show))
}

async fn converse(
    socket: &Path,
    request: ObserveRequest,
    mut show: impl FnMut(Message) -> io::Result<()>,
) -> Result<Option<End>> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        let socket = socket.display();
        format!("no engine answers on {socket}: is it running? Name its socket with -s, or its configuration with -c")
    })?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = serde_json::to_string(&Request::Observe(request))?;
    line.push('\n');
    write.write_all(line.as_bytes()).await?;
    line.clear();
    read.read_line(&mut line).await.context("the engine does not answer")?;
    match serde_json::from_str(&line).context("do the command and the engine have one version?")? {
        Answer::Ok(_) => {}
        Answer::Error(why) => bail!(why),
    }
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut interrupted = false;
    loop {
        let mut header = [0; HEADER];
        // A read that is given up between two bytes would lose them: it goes on after the interrupt, and the engine
        // ends the stream.
        let mut reading = std::pin::pin!(read.read_exact(&mut header));
        let got = loop {
            tokio::select! {
                got = &mut reading => break got,
                _ = &mut interrupt, if !interrupted => {
                    interrupted = true;
                    write.shutdown().await?;
                }
            }
        };
        got.context("the engine has gone")?;
        let mut payload = vec![0; Message::payload_length(header)?];
        read.read_exact(&mut payload).await.context("the engine has gone")?;
        match Message::read(header, payload)? {
            Message::End(end) => return Ok(Some(end)),
            message => match show(message) {
                // `| head`, or a tshark that has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
                shown => shown.context("the packets cannot be written")?,
            },
        }
    }
}
