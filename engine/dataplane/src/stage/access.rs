//! Which packets may pass, and as what: sessions, the access list, NAT. Works on a burst whose routes are known.
//!
//! A packet of a session passes without a look at the rules, which were asked when it began and are asked again once
//! they have changed. Every other forwarded packet is asked about; if a rule permits its session, or it is to be
//! translated, it begins one. What is for this engine itself needs no rule: little answers here, at limited
//! rates.

mod shadow;

use crate::acl::{self, Action, Subject};
use crate::batch::Batch;
use crate::context::{Context, Egress, Meta, Version};
use crate::drop_reason::DropReason;
use crate::flow::{
    AnyTuple, Direction, Flow, Hit, NewSession, Passed, Session, SessionKey, SessionTable, Tuple, Upper,
    quoted, tcp,
};
use crate::id::Nanos;
use crate::nat::{End, Endpoint, Nat, NatError, outgoing, rewrite, rewrite_error};
use crate::packet::{BURST, Packet, PacketPool};
use crate::shadow::Asks;
use crate::snapshot::Way;
use crate::stage::Verdict;
use crate::stage::icmp_error::{self, Problem};
use crate::telemetry::Counters;
use crate::wire::Protocol;
use arrayvec::ArrayVec;
use std::net::Ipv4Addr;

/// The number that rules call a tunnel by is this and its id; an interface's is its id.
pub const TUNNEL_INPUT: u16 = 0x8000;

/// The sessions of a worker, and their NAT.
pub struct Sessions {
    table: SessionTable,
    nat: Option<Nat>,
    /// Changes whenever a session ends: what was found before may stand for another one now.
    ends: u64,
    /// What other engines want of them, if any.
    asked: Option<Asks>,
}

impl Sessions {
    /// Of one worker.
    pub const fn new(table: SessionTable, nat: Option<Nat>) -> Sessions {
        Sessions { table, nat, ends: 0, asked: None }
    }

    /// Whether a packet of this flow would find its session.
    pub fn knows(&self, flow: &AnyTuple) -> bool {
        self.table.lookup(flow).is_some()
    }

    /// Ends what was idle for too long, a few sessions a poll, and does what other engines want.
    #[inline]
    pub fn poll(&mut self, now: Nanos, counters: &Counters) {
        self.shadow_poll(now, counters);
        let Sessions { table, nat, .. } = self;
        table.sweep(now, |session| ended(nat, &session, counters));
    }

    fn begin(&mut self, new: &NewSession, now: Nanos, counters: &Counters) -> Result<Hit, DropReason> {
        let Sessions { table, nat, ends, .. } = self;
        let begun = table.insert(new, now, |evicted| {
            counters.sessions.evicted.add(1);
            *ends += 1;
            ended(nat, &evicted, counters);
        });
        match begun {
            Ok(id) => {
                counters.sessions.begun.add(1);
                counters.sessions.nat_ports.set(nat.as_ref().map_or(0, |nat| nat.usage().0 as u64));
                Ok(Hit { id, direction: Direction::Forward })
            }
            Err(_) => {
                nat.iter_mut().for_each(|nat| nat.release(&new.key));
                Err(DropReason::SessionTableFull)
            }
        }
    }

    fn end(&mut self, hit: Hit, counters: &Counters) {
        if let Some(session) = self.table.remove(hit.id) {
            self.ends += 1;
            ended(&mut self.nat, &session, counters);
        }
    }
}

fn ended(nat: &mut Option<Nat>, session: &Session, counters: &Counters) {
    counters.sessions.ended.add(1);
    if let Some(nat) = nat
        && session.key.is_translated()
    {
        nat.release(&session.key);
        counters.sessions.nat_ports.set(nat.usage().0 as u64);
    }
}

/// Whether there is anything to ask.
#[inline]
pub fn is_needed<A: PacketPool>(context: &Context<A>) -> bool {
    context.sessions.is_some() || context.snapshot.acl.is_some()
}

/// Asks for every packet of a burst; those that may not pass end here. `judged` sees each verdict.
#[inline]
pub fn access<A: PacketPool>(
    context: &mut Context<A>,
    batch: &mut Batch<A::Packet>,
    mut judged: impl FnMut(&Context<A>, &A::Packet, &Meta, Verdict),
) {
    let mut subjects: ArrayVec<Subject, BURST> = ArrayVec::new();
    let mut places = [u8::MAX; BURST];
    for ((packet, meta), place) in batch.iter_mut().zip(&mut places) {
        if let Some(subject) = subject(packet, meta) {
            *place = subjects.len() as u8;
            subjects.push(subject);
        }
    }
    let mut hits: ArrayVec<Option<Hit>, BURST> = ArrayVec::new();
    match &context.sessions {
        Some(sessions) => sessions.table.lookup_burst(&subjects, &mut hits),
        None => subjects.iter().for_each(|_| hits.push(None)),
    }
    let verdicts = ask(context, &subjects, &hits);
    let ends = context.sessions.as_ref().map_or(0, |sessions| sessions.ends);
    let mut at = 0;
    batch.retain(|packet, meta| {
        let place = usize::from(places[at]);
        at += 1;
        let Some(subject) = subjects.get(place) else { return true };
        let hit = match &context.sessions {
            Some(sessions) if sessions.ends != ends => sessions.table.lookup(&subject.flow.tuple),
            _ => hits[place],
        };
        let verdict = match hit {
            Some(hit) => of_session(context, packet, meta, subject, hit),
            None if hits[place].is_none() => of_none(context, packet, meta, subject, verdicts[place]),
            None => anew(context, packet, meta, subject),
        };
        judged(context, packet, meta, verdict);
        context.passes(verdict)
    });
}

/// What a rule says, and which.
type Said = (Action, u32);

/// What the rules say of those that have no session, together.
#[inline]
fn ask<A: PacketPool>(context: &Context<A>, subjects: &[Subject], hits: &[Option<Hit>]) -> [Said; BURST] {
    let mut found = [(Action::Permit, 0); BURST];
    let Some(acl) = &context.snapshot.acl else { return found };
    let said = |verdict: &acl::Verdict| (verdict.action, verdict.rule.unwrap_or(u32::MAX));
    let missing = hits.iter().filter(|hit| hit.is_none()).count();
    if missing == 0 {
        return found;
    }
    let mut verdicts = ArrayVec::new();
    if missing == subjects.len() {
        acl.classify_burst(subjects, &mut verdicts);
        found.iter_mut().zip(&verdicts).for_each(|(found, verdict)| *found = said(verdict));
        return found;
    }
    let places = || (0..subjects.len()).filter(|&place| hits[place].is_none());
    let asked: ArrayVec<Subject, BURST> = places().map(|place| subjects[place]).collect();
    acl.classify_burst(&asked, &mut verdicts);
    places().zip(&verdicts).for_each(|(place, verdict)| found[place] = said(verdict));
    found
}

/// What rules and sessions see of a packet; `None` for what they are not about: own answers, and what stays on a link.
#[inline]
fn subject<P: Packet>(packet: &P, meta: &Meta) -> Option<Subject> {
    if meta.own || meta.link_local || !matches!(meta.egress, Egress::Unknown) {
        return None;
    }
    let (data, upper) = (packet.data(), usize::from(meta.upper));
    let flow = match meta.version {
        Version::V4 => Flow::ipv4(data, meta.protocol, upper, meta.has_upper)?,
        // Groups are not routed; of those for this link, neighbour discovery has rules of its own.
        Version::V6 if data.get(24) == Some(&0xff) => return None,
        Version::V6 => Flow::ipv6(data, meta.protocol, upper, meta.has_upper)?,
    };
    let input = meta.tunnel_in.map_or(meta.interface.0, |tunnel| TUNNEL_INPUT | tunnel.0);
    Some(Subject { flow, input })
}

/// A packet of a session.
#[inline]
fn of_session<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    subject: &Subject,
    hit: Hit,
) -> Verdict {
    let generation = context.snapshot.acl.as_ref().map_or(0, |acl| acl.generation());
    let Some(sessions) = &mut context.sessions else { return Ok(()) };
    match sessions.table.pass(hit, subject.flow.upper, context.now.into(), generation) {
        Passed::Plain => Ok(()),
        Passed::Translated => {
            translate_hit(context, packet, meta, hit);
            Ok(())
        }
        Passed::Outdated if still_permitted(context, hit) => of_session(context, packet, meta, subject, hit),
        Passed::Outdated | Passed::Gone => anew(context, packet, meta, subject),
    }
}

/// Translates a packet of a session.
#[inline(never)]
fn translate_hit<A: PacketPool>(context: &Context<A>, packet: &mut A::Packet, meta: &mut Meta, hit: Hit) {
    let session = context.sessions.as_ref().and_then(|sessions| sessions.table.get(hit.id));
    if let Some(session) = session {
        translate(context, packet, meta, &session.key, hit.direction == Direction::Forward);
    }
}

/// A packet whose session is gone.
#[cold]
fn anew<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    subject: &Subject,
) -> Verdict {
    let said = ask(context, std::slice::from_ref(subject), &[None])[0];
    of_none(context, packet, meta, subject, said)
}

/// Whether the rules of now permit a session that those of another generation did; if not, it ends.
#[cold]
fn still_permitted<A: PacketPool>(context: &mut Context<A>, hit: Hit) -> bool {
    let Some(sessions) = &mut context.sessions else { return false };
    let Some(session) = sessions.table.get_mut(hit.id) else { return false };
    let Some(acl) = &context.snapshot.acl else {
        session.generation = 0;
        context.counters.sessions.adopted.add(u64::from(sessions.table.adopt(hit.id)));
        return true;
    };
    let upper = match session.key.protocol() {
        Protocol::TCP => Upper::Tcp(if session.began_with_syn() { tcp::SYN } else { tcp::ACK }),
        Protocol::ICMP => Upper::Query { kind: 8, code: 0 },
        Protocol::ICMPV6 => Upper::Query { kind: 128, code: 0 },
        _ => Upper::Other,
    };
    let flow = Flow { tuple: session.key.forward(), upper };
    let verdict = acl.classify(&Subject { flow, input: session.input });
    let translated = session.key.is_translated() && verdict.action == Action::Permit;
    if verdict.action == Action::PermitSession || translated {
        (session.generation, session.rule) = (acl.generation(), verdict.rule.unwrap_or(u32::MAX));
        context.counters.sessions.adopted.add(u64::from(sessions.table.adopt(hit.id)));
        return true;
    }
    sessions.end(hit, &context.counters);
    false
}

/// A packet without a session, of which the rules say `said`.
fn of_none<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    subject: &Subject,
    said: Said,
) -> Verdict {
    let upper = subject.flow.upper;
    if context.sessions.is_some() && matches!(upper, Upper::Icmp { .. }) && related(context, packet, meta)? {
        return Ok(());
    }
    let (action, rule) = said;
    let local = matches!(context.snapshot.way(meta.route), Way::Local);
    match action {
        Action::Deny if !local => return Err(DropReason::AclDenied),
        Action::Reject if !local => {
            icmp_error::send(context, packet, meta, Problem::Prohibited);
            return Err(DropReason::AclRejected);
        }
        // Denied, but for this engine itself: not for somebody behind it.
        Action::Deny | Action::Reject => return Ok(()),
        Action::Permit | Action::PermitSession => {}
    }
    if context.sessions.is_none() {
        return Ok(());
    }
    begin(context, packet, meta, subject, (action, rule), local)
}

/// Begins a session with this packet, if it is to have one.
fn begin<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    subject: &Subject,
    (action, rule): (Action, u32),
    local: bool,
) -> Verdict {
    let Some(sessions) = &mut context.sessions else { return Ok(()) };
    let flow = subject.flow;
    // An earlier packet of this burst may have begun it.
    if let Some(hit) = sessions.table.lookup(&flow.tuple) {
        return of_session(context, packet, meta, subject, hit);
    }
    let translated = match &mut sessions.nat {
        Some(nat) => nat.translate(&flow, local).map_err(|error| match error {
            NatError::Fragment => DropReason::NatFragment,
            NatError::Protocol => DropReason::NatUnsupported,
            NatError::Exhausted(_) => DropReason::NatExhausted,
        })?,
        None => None,
    };
    // What follows a query, or shows nothing, begins nothing.
    let begins = !matches!(flow.upper, Upper::Hidden | Upper::Reply { .. } | Upper::Icmp { .. });
    let key = match translated {
        Some(key) => key,
        None if action == Action::PermitSession && !local && begins => SessionKey::plain(flow.tuple),
        None => return Ok(()),
    };
    let generation = context.snapshot.acl.as_ref().map_or(0, |acl| acl.generation());
    let new = NewSession { key, upper: flow.upper, generation, rule, input: subject.input };
    sessions.begin(&new, context.now, &context.counters)?;
    if key.is_translated() {
        translate(context, packet, meta, &key, true);
    }
    Ok(())
}

/// Gives a packet its new destination, and notes its new source for when it leaves.
#[inline]
fn translate<A: PacketPool>(
    context: &Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
    key: &SessionKey,
    forward: bool,
) {
    let Some((src, dst)) = outgoing(key, forward) else { return };
    let now = if forward { key.forward() } else { key.reverse() };
    let AnyTuple::V4(now) = now else { return };
    let (old_src, old_dst) = ends(&now);
    if differs(now.protocol, old_src, src) {
        meta.source = Some(src);
    }
    if differs(now.protocol, old_dst, dst) {
        rewrite(packet.data_mut(), End::Destination, dst);
        reroute(context, meta, dst);
    }
}

const fn ends(tuple: &Tuple<Ipv4Addr>) -> (Endpoint, Endpoint) {
    let src = Endpoint { address: tuple.src, port: tuple.src_port };
    (src, Endpoint { address: tuple.dst, port: tuple.dst_port })
}

/// Whether one end of a packet is to be rewritten. An identifier is of both ends, and goes with the address.
fn differs(protocol: u8, old: Endpoint, new: Endpoint) -> bool {
    old.address != new.address || old.port != new.port && Protocol(protocol) != Protocol::ICMP
}

fn reroute<A: PacketPool>(context: &Context<A>, meta: &mut Meta, dst: Endpoint) {
    // A connected destination is its own next hop.
    meta.dst_v4 = dst.address.to_bits();
    meta.route = context.snapshot.route(dst.address.into());
}

/// An ICMP error about a packet of a session passes, translated as that one was. False if it is about none.
#[cold]
fn related<A: PacketPool>(
    context: &mut Context<A>,
    packet: &mut A::Packet,
    meta: &mut Meta,
) -> Result<bool, DropReason> {
    let Some(sessions) = &context.sessions else { return Ok(false) };
    let quote = usize::from(meta.upper) + 8;
    let is_error = match (meta.version, packet.data().get(usize::from(meta.upper))) {
        (Version::V4, Some(kind)) => matches!(kind, 3 | 11 | 12),
        (Version::V6, Some(kind)) => (1..=4).contains(kind),
        _ => false,
    };
    let about = packet.data().get(quote..).filter(|_| is_error).and_then(quoted);
    // Who quotes a packet answers it.
    let Some(hit) = about.and_then(|about| sessions.table.lookup(&about.reversed())) else {
        return Ok(false);
    };
    let Some(session) = sessions.table.get(hit.id) else { return Ok(false) };
    if !session.key.is_translated() {
        return Ok(true);
    }
    // It goes the way of `hit`, and the packet it quotes went the other: as it was when it came in here.
    let (key, forward) = (session.key, hit.direction == Direction::Forward);
    let (Some((src, dst)), AnyTuple::V4(now)) =
        (outgoing(&key, forward), if forward { key.forward() } else { key.reverse() })
    else {
        return Ok(false);
    };
    let data = packet.data_mut();
    let mut intact = true;
    let (old_src, old_dst) = ends(&now);
    if differs(now.protocol, old_dst, dst) {
        intact &= rewrite_error(data, (End::Source, dst), (End::Destination, dst.address));
        reroute(context, meta, dst);
    }
    if differs(now.protocol, old_src, src) {
        intact &= rewrite_error(data, (End::Destination, src), (End::Source, src.address));
    }
    if intact { Ok(true) } else { Err(DropReason::BadChecksum) }
}

/// Gives a packet the source that [`access`] noted, after what could be said about it to its sender was said.
#[inline(always)]
pub fn leave<P: Packet>(packet: &mut P, meta: &Meta) {
    if let Some(source) = meta.source {
        leave_as(packet, source);
    }
}

#[cold]
fn leave_as<P: Packet>(packet: &mut P, source: Endpoint) {
    rewrite(packet.data_mut(), End::Source, source);
}
