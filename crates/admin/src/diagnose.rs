//! The diagnosis and the state of the adjudicator's group as messages.

use crate::pb;
use assize_ports::{Diagnosis, Finding, Health, Members, Severity, majority};

impl From<Diagnosis> for pb::DiagnoseResponse {
    fn from(told: Diagnosis) -> Self {
        let health = match told.health {
            Health::Healthy => pb::Health::Healthy,
            Health::Degraded => pb::Health::Degraded,
            Health::Unavailable => pb::Health::Unavailable,
        };
        let findings = told.findings.into_iter().map(Into::into).collect();
        pb::DiagnoseResponse { health: health.into(), summary: told.summary, findings }
    }
}

impl From<Finding> for pb::Finding {
    fn from(finding: Finding) -> Self {
        let severity = match finding.severity {
            Severity::Note => pb::Severity::Note,
            Severity::Warning => pb::Severity::Warning,
            Severity::Critical => pb::Severity::Critical,
        };
        let Finding { subject, what, advice, .. } = finding;
        pb::Finding { severity: severity.into(), subject, what, advice }
    }
}

/// The adjudicator's group as its members tell it.
pub(crate) fn raft_status(members: &Members) -> pb::GetRaftStatusResponse {
    let part = members.group();
    let longest = members.longest_log();
    let voters = part.iter().filter(|m| m.votes()).count();
    let reachable = part.iter().filter(|m| m.votes() && m.is_reachable).count();
    pb::GetRaftStatusResponse {
        leader: members.leader.unwrap_or(0),
        term: part.iter().filter(|m| m.is_reachable).map(|m| m.term).max().unwrap_or(0),
        voters: voters as u32,
        voters_reachable: reachable as u32,
        failures_survived: reachable.saturating_sub(majority(voters)) as u32,
        members: part
            .iter()
            .map(|m| pb::RaftMember {
                node: m.node,
                member_role: pb::MemberRole::from(m.member_role).into(),
                is_reachable: m.is_reachable,
                term: m.term,
                log_index: m.log_index,
                applied_index: m.applied_index,
                entries_behind: longest.saturating_sub(m.applied_index),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
