//! Draws the board.

use super::board::{Board, Sample};
use crate::operate::{conflicts, members, output, shards};
use assize_admin::pb::{self, Health};
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Sparkline, Table};
use ratatui::{Frame, Terminal};

/// Rows of the curve, its frame included.
const CURVE_ROWS: u16 = 5;
/// Rows that a table needs beside its items: header and frame.
const TABLE_ROWS: u16 = 3;

/// One frame as text, as high as it needs to be, without trailing blanks.
pub fn text(board: &Board, columns: u16) -> String {
    let rows: u16 = heights(board).iter().sum();
    let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, rows));
    let Ok(frame) = terminal.draw(|frame| self::board(frame, board, false));
    let cells = frame.buffer.content.chunks(usize::from(columns));
    let lines =
        cells.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// Rows of head, curve, nodes, shards, conflicts.
fn heights(board: &Board) -> [u16; 5] {
    let table = |items: usize| u16::try_from(items).unwrap_or(u16::MAX - TABLE_ROWS) + TABLE_ROWS;
    let sample = board.sample.as_ref();
    // One point is no curve.
    let curve = if board.history.len() > 1 { CURVE_ROWS } else { 0 };
    [
        3,
        curve,
        table(sample.map_or(0, |s| s.members.len())),
        table(sample.map_or(0, |s| s.shards.len())),
        table(sample.map_or(0, |s| s.conflicts.len())),
    ]
}

/// Draws everything.
pub fn board(frame: &mut Frame, board: &Board, has_colours: bool) {
    let areas: [Rect; 5] = Layout::vertical(heights(board).map(Constraint::Max)).areas(frame.area());
    frame.render_widget(Paragraph::new(head(board, has_colours)), areas[0]);
    curve(frame, areas[1], board);
    if let Some(sample) = &board.sample {
        nodes(frame, areas[2], sample);
        placement(frame, areas[3], sample);
        aborts(frame, areas[4], sample);
    }
}

fn head(board: &Board, has_colours: bool) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let first = match (&board.problem, &board.sample) {
        (Some(problem), _) => Line::from(Span::styled(format!("no answer: {problem}"), bold)),
        (None, Some(sample)) => {
            let health = sample.diagnosis.health();
            let style = if has_colours { bold.fg(colour(health)) } else { bold };
            let worst = sample.diagnosis.findings.first().map(|f| format!("; {}: {}", f.subject, f.what));
            let words = format!(": {}{}", sample.diagnosis.summary, worst.unwrap_or_default());
            Line::from(vec![Span::styled(health.to_string(), style), Span::raw(words)])
        }
        (None, None) => Line::from("asking …"),
    };
    vec![first, figures(board), Line::from("")]
}

fn figures(board: &Board) -> Line<'static> {
    let Some(sample) = &board.sample else { return Line::from("") };
    let rates = match board.rates {
        Some(r) => {
            format!("{:.0} commits/s  {:.0} aborts/s  {:.0} statements/s", r.commits, r.aborts, r.statements)
        }
        None => "measuring …".to_owned(),
    };
    let connections: u64 = sample.traffic.iter().map(|t| t.connections).sum();
    Line::from(format!(
        "{rates}  {connections} connections  {} open transactions   (q quits)",
        sample.transactions
    ))
}

fn colour(health: Health) -> Color {
    match health {
        Health::Healthy => Color::Green,
        Health::Degraded => Color::Yellow,
        Health::Unavailable | Health::Unspecified => Color::Red,
    }
}

fn framed(title: &'static str) -> Block<'static> {
    Block::new().borders(Borders::TOP).title(title)
}

fn curve(frame: &mut Frame, area: Rect, board: &Board) {
    let skip = board.history.len().saturating_sub(usize::from(area.width));
    let newest: Vec<u64> = board.history.iter().skip(skip).copied().collect();
    frame.render_widget(Sparkline::default().block(framed(" commits/s ")).data(newest), area);
}

/// A table of texts.
fn table(
    frame: &mut Frame,
    area: Rect,
    title: &'static str,
    header: &[&'static str],
    rows: Vec<Vec<String>>,
    widths: &[Constraint],
) {
    let header = Row::new(header.to_vec()).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows.into_iter().map(Row::new);
    frame.render_widget(Table::new(rows, widths.to_vec()).header(header).block(framed(title)), area);
}

fn nodes(frame: &mut Frame, area: Rect, sample: &Sample) {
    let row = |member: &pb::Member| {
        let traffic = sample.traffic.iter().find(|t| t.node == member.node);
        vec![
            member.node.to_string(),
            member.member_role().to_string(),
            members::state(member),
            member.zone.clone(),
            member.applied_index.to_string(),
            traffic.map_or_else(|| "-".to_owned(), |t| t.connections.to_string()),
            output::bytes_or_dash(member.disk_free_bytes),
            member.mysql_address.clone(),
        ]
    };
    let widths = [4, 8, 24, 8, 12, 11, 10, 24].map(Constraint::Length);
    let header = ["node", "group", "state", "zone", "applied", "connections", "disk free", "mysql"];
    table(frame, area, " nodes ", &header, sample.members.iter().map(row).collect(), &widths);
}

fn placement(frame: &mut Frame, area: Rect, sample: &Sample) {
    let row = |shard: &pb::Shard| {
        vec![
            shard.shard.to_string(),
            shards::slots(&shard.slots),
            output::bytes(shard.bytes),
            shard.replicas.iter().map(shards::replica).collect::<Vec<_>>().join(", "),
        ]
    };
    let widths = [Constraint::Length(5), Constraint::Length(16), Constraint::Length(10), Constraint::Fill(1)];
    let header = ["shard", "slots", "size", "replicas: node state lag"];
    table(frame, area, " shards ", &header, sample.shards.iter().map(row).collect(), &widths);
}

fn aborts(frame: &mut Frame, area: Rect, sample: &Sample) {
    let lines: Vec<Line> = sample.conflicts.iter().map(|c| Line::from(conflicts::sentence(c))).collect();
    frame.render_widget(Paragraph::new(lines).block(framed(" newest conflicts ")), area);
}
