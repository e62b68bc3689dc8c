//! The load generator of the benchmark: one thread, one epoll, frames made by hand.
//!
//! Owns the command line and what is printed: a line for each value, `KEY<TAB>VALUE`. It deliberately does not
//! know how many rounds there are, nor what the values are compared with.

mod client;
mod crowd;
mod figures;
mod frame;
mod measure;
mod pool;
mod process;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::client::Wire;
use crate::figures::{attack, broadcast, cluster, idle, large, ping, relay, restart, start};
use crate::measure::Span;
use crate::pool::Pool;
use crate::process::Process;

const USAGE: &str = "\
usage: load FIGURE --pid PID --port PORT [--echo] [--tls CERTIFICATE] [--seconds N] [--clients N[,N...]] [--times N]
       load ping|relay|broadcast --messages N ...: the same, for so many messages instead of a time
       load start [--notify] [--times N] --pid-file FILE -- COMMAND...
       load restart [--clients N] [--times N] --pid-file FILE -- COMMAND...
       load cluster --pid PID,PID,PID --port PORT,PORT,PORT [--seconds N] [--clients N]
       load large --pid PID,... --port PORT,... [--seconds N] [--clients N] --pid-file FILE -- COMMAND...
       load hold --port PORT [--clients N] [--first N] [--rooms]: holds clients as long as there is an input
       load attack [--ours] [--no-crowd] ...: the same; with what only the signaling server does, or without 20 who flood
FIGURE: memory ping handshakes relay broadcast heartbeat drain churn attack";

/// What was asked for.
struct Options {
    figure: String,
    /// Of the server, or of each node.
    pids: Vec<i32>,
    ports: Vec<u16>,
    echo: bool,
    notify: bool,
    ours: bool,
    no_crowd: bool,
    rooms: bool,
    first: usize,
    seconds: f64,
    messages: Option<usize>,
    clients: Vec<usize>,
    times: usize,
    pid_file: String,
    tls: Option<String>,
    command: Vec<String>,
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("load: {error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {}: {error:#}", options.figure);
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if options.figure == "start" {
        let Options { notify, times, pid_file, command, .. } = options;
        return start::start(*notify, *times, pid_file, command);
    }
    let many = *options.clients.first().context("--clients is empty")?;
    if options.figure == "restart" {
        return restart::restart(many, options.times, &options.pid_file, &options.command);
    }
    let processes =
        options.pids.iter().map(|pid| Process::new(*pid)).collect::<Result<Vec<_>>>()?;
    let address = |port: &u16| SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port);
    let time = Duration::from_secs_f64(options.seconds);
    let span = options.messages.map_or(Span::Time(time), Span::Exchanges);
    if let "cluster" | "large" | "hold" = options.figure.as_str() {
        let first = address(options.ports.first().context("--port is missing")?);
        let mut pool = Pool::new(first, Wire::WebSocket, None)?;
        let nodes: Vec<_> = options.ports.iter().map(address).zip(processes).collect();
        return match options.figure.as_str() {
            "cluster" => cluster::cluster(&mut pool, &nodes, many, time),
            "large" => {
                let another = (options.pid_file.as_str(), options.command.as_slice());
                large::large(&mut pool, &nodes, many, time, another)
            }
            _ => large::hold(&mut pool, options.first, many, options.rooms),
        };
    }
    let mut nodes: Vec<_> = options.ports.iter().map(address).zip(processes).collect();
    let (address, server) = nodes.pop().context("--pid or --port is missing")?;
    let wire = if options.echo { Wire::Echo(ping::UNIT) } else { Wire::WebSocket };
    let tls = options.tls.as_deref().map(trusting).transpose()?;
    let kind =
        attack::Kind { ours: options.ours, bears_crowds: !options.no_crowd, tls: tls.clone() };
    let mut pool = Pool::new(address, wire, tls)?;
    match options.figure.as_str() {
        "memory" => idle::memory(&mut pool, &server, &options.clients),
        "ping" => ping::ping(&mut pool, &server, many, span),
        "handshakes" => ping::handshakes(&mut pool, &server, many, time),
        "relay" => relay::relay(&mut pool, &server, &options.clients, span),
        "broadcast" => broadcast::broadcast(&mut pool, &server, many, span),
        "heartbeat" => idle::heartbeat(&mut pool, &server, many, time),
        "drain" => idle::drain(&mut pool, &server, many),
        "churn" => idle::churn(&mut pool, &server, many, options.times),
        "attack" => attack::attack(&mut pool, &server, address, &kind, time),
        other => bail!("there is no figure {other}"),
    }
}

/// TLS that trusts one certificate. Every handshake is a full one, as those of new clients are.
fn trusting(certificate: &str) -> Result<Arc<ClientConfig>> {
    let certificate = CertificateDer::from_pem_file(certificate).context("--tls")?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).context("--tls")?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Prints a value.
fn say(key: &str, value: f64) {
    println!("{key}\t{value:.4}");
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            figure: arguments.next().context("which figure?")?,
            pids: Vec::new(),
            ports: Vec::new(),
            echo: false,
            notify: false,
            ours: false,
            no_crowd: false,
            rooms: false,
            first: 0,
            seconds: 3.0,
            messages: None,
            clients: vec![64],
            times: 1,
            pid_file: String::new(),
            tls: None,
            command: Vec::new(),
        };
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--echo" => options.echo = true,
                "--notify" => options.notify = true,
                "--ours" => options.ours = true,
                "--no-crowd" => options.no_crowd = true,
                "--rooms" => options.rooms = true,
                "--" => {
                    options.command = arguments.collect();
                    break;
                }
                _ => {
                    let value =
                        arguments.next().with_context(|| format!("{name} needs a value"))?;
                    options.set(&name, &value)?;
                }
            }
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "--pid" => self.pids = numbers(name, value)?,
            "--port" => self.ports = numbers(name, value)?,
            "--seconds" => self.seconds = number(name, value)?,
            "--messages" => self.messages = Some(number(name, value)?),
            "--first" => self.first = number(name, value)?,
            "--times" => self.times = number(name, value)?,
            "--clients" => self.clients = numbers(name, value)?,
            "--tls" => self.tls = Some(value.to_owned()),
            "--pid-file" => self.pid_file = value.to_owned(),
            _ => bail!("there is no option {name}"),
        }
        Ok(())
    }
}

/// Numbers with commas between them.
fn numbers<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    name: &str,
    value: &str,
) -> Result<Vec<T>> {
    value.split(',').map(|part| number(name, part)).collect()
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    name: &str,
    value: &str,
) -> Result<T> {
    value.parse().with_context(|| format!("{name} {value}"))
}
