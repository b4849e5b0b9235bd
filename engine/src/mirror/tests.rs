use super::frame::{self, Frame, FrameError};
use super::names::Names;
use crate::config::Config;
use crate::plan::Plan;
use control::mirror::MirrorReport;
use dataplane::drop_reason::DropReason;
use dataplane::id::{GroupId, InterfaceId, TunnelId};
use dataplane::mirror::wire::{Entry, Verdict};
use dataplane::mirror::{Fate, Ingress, Lead};

fn names(text: &str) -> Names {
    Names::of(&Plan::from_config(&Config::parse(text).expect("a lab's configuration")))
}

/// The two engines of the lab's site A number and name their tunnels each by itself; sites and interfaces have one name.
#[test]
fn two_engines_of_a_site_understand_each_other() {
    let (active, shadow) = (
        names(include_str!("../../../configs/lab/a1.toml")),
        names(include_str!("../../../configs/lab/a2.toml")),
    );
    let theirs = active.hello();
    assert_eq!(theirs.sites, ["b"]);
    assert_eq!(shadow.ingress(&theirs, Entry::Site(0)), Some(Ingress::Tunnel(TunnelId(0))));
    assert_eq!(
        shadow.ingress(&theirs, Entry::Interface(2)),
        Some(Ingress::Interface(InterfaceId(2))),
        "site"
    );
    assert_eq!(shadow.fate(&theirs, Verdict::Site(0)), Some(Fate::Forwarded(Lead::Group(GroupId(0)))));
    let denied = Verdict::Dropped(DropReason::AclDenied as u16);
    assert_eq!(shadow.fate(&theirs, denied), Some(Fate::Dropped(DropReason::AclDenied)));
    // What one has and the other does not is unknown, never another thing.
    let mut other = theirs.clone();
    other.sites[0] = "c".to_owned();
    other.interfaces[0] = "dmz".to_owned();
    other.reasons.insert(0, "of a later version".to_owned());
    assert_eq!(shadow.ingress(&other, Entry::Site(0)), None);
    assert_eq!(shadow.fate(&other, Verdict::Site(0)), None);
    let ip = [10, 1, 0, 9].into();
    assert_eq!(shadow.fate(&other, Verdict::Neighbor { interface: 0, ip }), None);
    assert_eq!(shadow.fate(&other, Verdict::Dropped(0)), None);
    let moved = Verdict::Dropped(DropReason::AclDenied as u16 + 1);
    assert_eq!(shadow.fate(&other, moved), Some(Fate::Dropped(DropReason::AclDenied)));
    assert_eq!(shadow.ingress(&theirs, Entry::Site(u16::MAX)), None);
    assert_eq!(shadow.show_entry(&theirs, Entry::Site(0)), "site b");
    assert_eq!(shadow.show_fate(shadow.fate(&theirs, Verdict::Site(0))), "to site b");
    assert_eq!(shadow.show_fate(shadow.fate(&theirs, denied)), "acl_denied");
}

#[tokio::test]
async fn frames_read_back_and_nonsense_is_refused() {
    let hello = names(include_str!("../../../configs/lab/a1.toml")).hello();
    let report = MirrorReport { compared: 7, alarm: Some("x".into()), ..MirrorReport::default() };
    let mut copies = Vec::new();
    frame::begin_copies(&mut copies);
    assert!(!frame::has_copies(&copies));
    copies.extend([1, 2, 3]);
    assert!(frame::has_copies(&copies) && frame::finish(&mut copies));
    let octets = [frame::hello(&hello).unwrap(), copies, frame::report(&report).unwrap()].concat();
    let (mut from, mut buffer) = (octets.as_slice(), Vec::new());
    assert_eq!(frame::read(&mut from, &mut buffer).await.unwrap(), Frame::Hello(hello));
    assert_eq!(frame::read(&mut from, &mut buffer).await.unwrap(), Frame::Copies(vec![1, 2, 3]));
    assert_eq!(frame::read(&mut from, &mut buffer).await.unwrap(), Frame::Report(Box::new(report)));
    assert!(matches!(frame::read(&mut from, &mut buffer).await, Err(FrameError::Closed)));
    for (octets, says) in [
        (&[0, 0, 0, 0, 1][..], "length 0"),
        (&[0, 1, 0, 1, 2], "length 65537"),
        (&[0, 0, 0, 1, 9], "kind 9"),
        (&[0, 0, 0, 2, 1, b'x'], "expected value"),
    ] {
        let error = frame::read(&mut &*octets, &mut buffer).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
