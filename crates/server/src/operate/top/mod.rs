//! `assize top`: the cluster live in the terminal, or one frame of it as text.

mod board;
mod draw;

pub(super) use board::{Board, Sample};
#[cfg(test)]
pub(super) use board::{Rates, rates};
#[cfg(test)]
pub(super) use draw::text;

use super::{Connection, output};
use crate::Failure;
use crate::cli::Output;
use assize_admin::Client;
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::sync::mpsc;

/// Columns of a frame that is printed as text.
const PRINTED_COLUMNS: u16 = 120;
/// How long a key may wait before it is seen, at most.
const KEY_LIMIT: Duration = Duration::from_millis(100);
/// Keys that wait to be seen.
const KEYS_MAX: usize = 16;

/// Options of `assize top`.
#[derive(Args, Debug)]
pub struct TopOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// Print one frame as text and exit, as is done anyway if the output is no terminal, and for --output json
    #[arg(long)]
    pub once: bool,
    /// Seconds between two frames
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub interval: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let parsed = text.parse::<f64>().ok().filter(|s| (0.1..=3600.0).contains(s));
    parsed.ok_or_else(|| format!("{text:?} is no number of seconds from 0.1 to 3600"))
}

/// Runs `assize top`.
pub async fn run(options: TopOptions) -> Result<(), Failure> {
    let interval = Duration::from_secs_f64(options.interval);
    let client = options.connection.open().await?;
    let is_for_programs = options.connection.output == Output::Json;
    if options.once || is_for_programs || !std::io::stdout().is_terminal() {
        let board = two_looks(&client, interval).await?;
        return match board.frame() {
            Some(frame) if is_for_programs => output::json(&frame),
            _ => output::line(draw::text(&board, PRINTED_COLUMNS)),
        };
    }
    live(client, &options.connection, interval).await
}

/// Two looks, because rates need them.
async fn two_looks(client: &Client, interval: Duration) -> Result<Board, Failure> {
    let mut board = Board::default();
    board.show(Sample::take(client).await?);
    tokio::time::sleep(interval).await;
    board.show(Sample::take(client).await?);
    Ok(board)
}

async fn live(client: Client, connection: &Connection, interval: Duration) -> Result<(), Failure> {
    let mut keys = keys();
    let mut client = Some(client);
    let mut board = Board::default();
    let mut terminal = ratatui::try_init()?;
    let has_colours = output::has_colours();
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let result = loop {
        tokio::select! {
            _ = tick.tick() => look(&mut client, connection, &mut board).await,
            key = keys.recv() => match key {
                Some(Key::Redraw) => {}
                Some(Key::Quit) | None => break Ok(()),
            },
        }
        if let Err(e) = terminal.draw(|frame| draw::board(frame, &board, has_colours)) {
            break Err(e);
        }
    };
    ratatui::try_restore()?;
    Ok(result?)
}

/// Looks again, at another node if the one that we asked is gone. What goes wrong is on the board.
async fn look(client: &mut Option<Client>, connection: &Connection, board: &mut Board) {
    let taken = match client {
        Some(client) => Sample::take(client).await,
        None => match connection.open_quietly().await {
            Ok(opened) => Sample::take(client.insert(opened)).await,
            Err(failure) => Err(failure),
        },
    };
    match taken {
        Ok(sample) => board.show(sample),
        Err(failure) => {
            *client = None;
            board.problem = Some(format!("{:#}", failure.error));
        }
    }
}

enum Key {
    Quit,
    Redraw,
}

/// Reads the keyboard on a thread of its own, because reading blocks; it ends when nobody listens any more.
fn keys() -> mpsc::Receiver<Key> {
    let (seen, keys) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !seen.is_closed() {
            let key = match event::poll(KEY_LIMIT).and_then(|is_there| is_there.then(event::read).transpose())
            {
                Ok(Some(Event::Key(key))) if key.kind == KeyEventKind::Press => match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
                    _ => continue,
                },
                Ok(Some(Event::Resize(..))) => Key::Redraw,
                Ok(_) => continue,
                Err(_) => Key::Quit,
            };
            if seen.blocking_send(key).is_err() {
                return;
            }
        }
    });
    keys
}
