//! BFD packets through the walk: two neighbours on a link, and who else might send some.

use crate::support::draft::wan_v4;
use crate::support::{Draft, Engine, WAN};
use dataplane::bfd::Parameters;
use dataplane::drop_reason::DropReason;
use dataplane::id::InterfaceId;
use dataplane::message::Event;
use dataplane::wire::bfd::{Diagnostic, State};
use std::time::Duration;

fn engine(id: u8, far: u8) -> Engine {
    let mut draft = Draft::new(id, id);
    draft.bfd.push(Parameters {
        interface: InterfaceId(1),
        local: wan_v4(id),
        remote: wan_v4(far),
        discriminator: 7,
        interval: Duration::from_millis(10),
        multiplier: 3,
    });
    Engine::new(draft)
}

fn told(engine: &mut Engine) -> Vec<(State, Diagnostic)> {
    let said = |event| match event {
        Event::Bfd { session: 0, state, diagnostic } => Some((state, diagnostic)),
        _ => None,
    };
    engine.events().into_iter().filter_map(said).collect()
}

/// A millisecond on a wire between them; what `a` sent.
fn tick(a: &mut Engine, b: &mut Engine) -> Vec<Vec<u8>> {
    a.wait(1);
    b.wait(1);
    a.poll();
    b.poll();
    let (from_a, from_b) = (a.take(WAN), b.take(WAN));
    from_a.iter().for_each(|frame| b.put(0, WAN, frame));
    from_b.iter().for_each(|frame| a.put(0, WAN, frame));
    from_a
}

#[test]
fn neighbours_see_each_other_and_notice_when_one_falls_silent() {
    let (mut a, mut b) = (engine(1, 2), engine(2, 1));
    for _ in 0..2500 {
        tick(&mut a, &mut b);
    }
    assert_eq!(told(&mut a).last(), Some(&(State::Up, Diagnostic::NONE)));
    assert_eq!(told(&mut b).last(), Some(&(State::Up, Diagnostic::NONE)));
    let frame = (0..20).flat_map(|_| tick(&mut a, &mut b)).next().expect("three packets at least");
    // RFC 5881 §5: TTL 255, so that nobody further away can have sent it.
    assert_eq!(frame[14 + 8], 255);
    let mut routed = frame.clone();
    assert!(dataplane::wire::ipv4::Ipv4Header::of(&mut routed[14..]).unwrap().decrement_ttl());
    b.poll();
    b.refuses(WAN, &routed, DropReason::NoListener);
    let mut damaged = frame;
    let last = damaged.len() - 9;
    damaged[last] ^= 1;
    b.refuses(WAN, &damaged, DropReason::BadChecksum);
    told(&mut b);
    for _ in 0..31 {
        b.wait(1);
        b.poll();
    }
    assert_eq!(told(&mut b), [(State::Down, Diagnostic::TIMED_OUT)]);
}
