//! `assize demo`: a whole cluster in one process.

use crate::cli::{DemoOptions, parse_settings};
use crate::node::{self, Listeners, Node, Signals};
use crate::{Failure, config};
use figment::value::Value;
use std::io::Write;
use std::net::SocketAddr;

/// How many ports above the default one are tried when it is taken.
const PORTS_TRIED: u16 = 100;

/// Starts everything, prints how to connect, serves until SIGTERM or Ctrl-C.
pub async fn run(options: DemoOptions) -> Result<(), Failure> {
    let mut flags = Vec::new();
    if let Some(data) = &options.data {
        flags.push(("node.data".to_owned(), Value::from(data.to_string_lossy().into_owned())));
    }
    if let Some(shards) = options.shards {
        flags.push(("shard.count".to_owned(), Value::from(shards)));
    }
    // People read the demo's output; they ask for logs with --set telemetry.log=info.
    flags.push(("telemetry.log".to_owned(), Value::from("warn,openraft=error")));
    flags.extend(parse_settings(&options.settings)?);
    let loaded = config::load(None, &flags)?;
    let mut config = loaded.config.clone();
    if let Some(port) = options.port {
        config.mysql.listen.set_port(port);
    }
    let mysql = bind_from(config.mysql.listen, options.port.is_some()).await?;
    // Whoever asks for any free port runs several of us.
    if options.port == Some(0) {
        config.http.listen.set_port(0);
        config.admin.listen.set_port(0);
    }
    let http = bind_from(config.http.listen, false).await?;
    let admin = bind_from(config.admin.listen, false).await?;
    let signals = Signals::new()?;
    let listeners = Listeners { mysql: Some(mysql), http, peers: None, admin };
    let node = node::start(&config, loaded.settings(), listeners).await?;
    greet(&node, &options)?;
    if let Some(path) = &options.url_file {
        node::write_url_file(path, &node)?;
    }
    node.serve_until_signal(signals).await
}

/// Binds the address, or, unless `strict`, the next free port after it.
async fn bind_from(address: SocketAddr, strict: bool) -> Result<tokio::net::TcpListener, Failure> {
    let mut last = None;
    let tries = if strict || address.port() == 0 { 1 } else { PORTS_TRIED };
    for n in 0..tries {
        let candidate = SocketAddr::new(address.ip(), address.port().saturating_add(n));
        match tokio::net::TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(listener),
            Err(e) => last = Some(e),
        }
    }
    let error = last.unwrap_or_else(|| std::io::Error::other("no port was tried"));
    Err(anyhow::Error::from(error).context(format!("cannot listen on {address}")).into())
}

/// How this program is run from here, so that what is printed works when it is pasted.
fn command_name() -> String {
    let Ok(exe) = std::env::current_exe() else { return "assize".to_owned() };
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join("assize") == exe));
    if on_path {
        return "assize".to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    exe.strip_prefix(&here).unwrap_or(&exe).display().to_string()
}

fn greet(node: &Node, options: &DemoOptions) -> std::io::Result<()> {
    let mysql = node.mysql.expect("a demo has a frontend");
    let (host, port) = (mysql.ip(), mysql.port());
    let url = node.url();
    let mut out = std::io::stdout().lock();
    if options.json {
        let line = serde_json::json!({
            "url": url, "mysql": mysql.to_string(), "http": node.http.to_string(),
            "admin": node.admin.to_string(), "shards": node.shards,
            "data": options.data,
        });
        return writeln!(out, "{line}");
    }
    let kept = match &options.data {
        Some(dir) => format!("in {}", dir.display()),
        None => "in memory, gone at exit (keep it with --data DIR)".to_owned(),
    };
    writeln!(
        out,
        "assize {version}: a whole cluster in one process: 1 adjudicator, {shards} shards, 1 frontend\n\n\
         connect   mariadb -h {host} -P {port} -u root\n\
         or        {assize} sql --url {url}\n\
         measure   {assize} bench transfer --url {url}\n\
         status    {assize} status --admin {admin}\n\
         metrics   curl http://{http}/metrics\n\
         data      {kept}\n\n\
         Ctrl-C stops it.",
        version = env!("CARGO_PKG_VERSION"),
        assize = command_name(),
        shards = node.shards,
        http = node.http,
        admin = node.admin,
    )?;
    out.flush()
}
