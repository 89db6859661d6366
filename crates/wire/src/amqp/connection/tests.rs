//! Two engines talking to each other, and one being talked at.

use super::super::*;
use super::*;
use bytes::Bytes;
use proptest::prelude::*;

const MECHANISMS: &[&str] = &["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"];

struct Pair {
    client: Connection,
    server: Connection,
}

impl Pair {
    fn new(sasl: ClientSasl, client: Config, server: Config) -> Self {
        Self { client: Connection::client(client, sasl), server: Connection::server(server, MECHANISMS) }
    }

    fn open() -> Self {
        Self::open_with(Config::default(), Config::default())
    }

    fn open_with(client: Config, server: Config) -> Self {
        let mut pair = Self::new(ClientSasl::Anonymous, client, server);
        let (_, at_server) = pair.run();
        assert!(matches!(at_server[..], [Event::Sasl(_)]));
        pair.server.sasl_outcome(SaslCode::Ok);
        let (at_client, at_server) = pair.run();
        assert!(matches!(at_client[..], [Event::Opened(_)]));
        assert!(matches!(at_server[..], [Event::Opened(_)]));
        pair
    }

    /// Moves bytes until neither has any; what happened at the client and at the server.
    fn run(&mut self) -> (Vec<Event>, Vec<Event>) {
        let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
        loop {
            let (up, down) = (self.client.output().split(), self.server.output().split());
            let quiet = up.is_empty() && down.is_empty();
            self.server.input().unsplit(up);
            self.client.input().unsplit(down);
            let before = at_client.len() + at_server.len();
            while let Some(event) = self.client.poll().unwrap() {
                at_client.push(event);
            }
            while let Some(event) = self.server.poll().unwrap() {
                at_server.push(event);
            }
            if quiet && before == at_client.len() + at_server.len() {
                return (at_client, at_server);
            }
        }
    }

    /// A link of the client's wish, accepted by the server with `credit`.
    fn link(&mut self, session: SessionId, options: LinkOptions, credit: u32) -> (LinkId, LinkId) {
        let ours = self.client.attach(session, options).unwrap();
        let (_, at_server) = self.run();
        let theirs = at_server
            .iter()
            .find_map(|e| match e {
                Event::AttachRequested(link, _) => Some(*link),
                _ => None,
            })
            .unwrap();
        self.server.accept(theirs, credit);
        let (at_client, _) = self.run();
        assert!(at_client.iter().any(|e| matches!(e, Event::Attached(link, _) if *link == ours)));
        (ours, theirs)
    }
}

fn outgoing(tag: &'static [u8], payload: impl Into<Bytes>) -> Outgoing {
    Outgoing { tag: Bytes::from_static(tag), format: 0, settled: false, payload: payload.into() }
}

fn deliveries(events: Vec<Event>) -> Vec<Delivery> {
    events
        .into_iter()
        .filter_map(|e| match e {
            Event::Delivery(delivery) => Some(delivery),
            _ => None,
        })
        .collect()
}

/// rule AMQP-04
#[test]
fn a_client_without_sasl_is_let_in() {
    let mut pair = Pair::new(ClientSasl::None, Config::default(), Config::default());
    let (at_client, at_server) = pair.run();
    assert!(matches!(at_client[..], [Event::Opened(_)]));
    assert!(matches!(at_server[..], [Event::Opened(_)]));
}

#[test]
fn plain_credentials_arrive_and_can_be_refused() {
    let sasl = ClientSasl::Plain { user: "u".into(), password: "p".into() };
    let mut pair = Pair::new(sasl, Config::default(), Config::default());
    let (_, at_server) = pair.run();
    let [Event::Sasl(request)] = &at_server[..] else { panic!("{at_server:?}") };
    assert_eq!(request.plain(), Some(("u", "p")));
    pair.server.sasl_outcome(SaslCode::Auth);
    assert!(pair.server.is_closed());
    let down = pair.server.output().split();
    pair.client.input().unsplit(down);
    assert_eq!(pair.client.poll(), Err(Violation::Sasl(SaslCode::Auth)));
}

#[test]
fn another_protocol_is_answered_with_a_header() {
    let mut server = Connection::server(Config::default(), MECHANISMS);
    server.input().extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    assert!(matches!(server.poll(), Err(Violation::Header(_))));
    assert_eq!(&server.output()[..], b"AMQP\x03\x01\x00\x00");
}

#[test]
fn a_delivery_is_sent_accepted_and_forgotten() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    let (sender, at) = pair.link(session, LinkOptions::sender("s", "node"), 5);
    assert_eq!(pair.client.sendable(sender), 5);
    pair.client.send(sender, outgoing(b"t", "hello")).unwrap();
    let got = deliveries(pair.run().1);
    assert_eq!((got[0].link, &got[0].payload[..]), (at, &b"hello"[..]));
    pair.server.settle(at, got[0].id, got[0].id, DeliveryState::Accepted);
    let (at_client, _) = pair.run();
    assert_eq!(
        at_client,
        [Event::Disposition {
            link: sender,
            id: got[0].id,
            tag: Bytes::from_static(b"t"),
            state: Some(DeliveryState::Accepted),
            settled: true
        }]
    );
    assert_eq!(pair.client.sendable(sender), 4);
}

#[test]
fn what_is_sent_without_credit_waits_for_it() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    let (sender, at) = pair.link(session, LinkOptions::sender("s", "node"), 0);
    pair.client.send(sender, outgoing(b"1", "a")).unwrap();
    pair.client.send(sender, outgoing(b"2", "b")).unwrap();
    assert!(deliveries(pair.run().1).is_empty());
    pair.server.set_credit(at, 1);
    assert_eq!(deliveries(pair.run().1).len(), 1);
    pair.server.set_credit(at, 1);
    assert_eq!(&deliveries(pair.run().1)[0].payload[..], b"b");
}

#[test]
fn a_queue_without_credit_is_bounded() {
    let mut pair = Pair::open_with(Config { max_queued: 2, ..Config::default() }, Config::default());
    let session = pair.client.begin().unwrap();
    let (sender, _) = pair.link(session, LinkOptions::sender("s", "node"), 0);
    pair.client.send(sender, outgoing(b"1", "a")).unwrap();
    pair.client.send(sender, outgoing(b"2", "b")).unwrap();
    assert_eq!(pair.client.send(sender, outgoing(b"3", "c")), Err(CommandError::Full));
}

/// rule AMQP-03
#[test]
fn delivery_ids_rise_by_one_over_the_links_of_a_session_and_start_anew_in_another() {
    let mut pair = Pair::open();
    let first = pair.client.begin().unwrap();
    let second = pair.client.begin().unwrap();
    let (a, _) = pair.link(first, LinkOptions::sender("same name", "a"), 9);
    let (b, _) = pair.link(first, LinkOptions::sender("b", "b"), 9);
    let (c, _) = pair.link(second, LinkOptions::sender("same name", "c"), 9);
    for link in [a, b, a, c, c] {
        pair.client.send(link, outgoing(b"t", "x")).unwrap();
    }
    let ids: Vec<_> = deliveries(pair.run().1).iter().map(|d| (d.link.session().channel, d.id)).collect();
    assert_eq!(ids, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]);
}

#[test]
fn a_long_message_goes_in_frames_the_peer_takes() {
    let server = Config { max_frame_size: 512, ..Config::default() };
    let mut pair = Pair::open_with(Config::default(), server);
    let session = pair.client.begin().unwrap();
    let (sender, _) = pair.link(session, LinkOptions::sender("s", "node"), 5);
    let body: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    pair.client.send(sender, outgoing(b"0123456789abcdef", body.clone())).unwrap();
    let got = deliveries(pair.run().1);
    assert_eq!((got.len(), &got[0].payload[..]), (1, &body[..]));
}

#[test]
fn a_session_window_is_kept_and_renewed() {
    // 64-byte steps of 3 MB need more frames than a window has.
    let config = || Config { max_frame_size: 512, max_message_size: 4 << 20, ..Config::default() };
    let mut pair = Pair::open_with(config(), config());
    let session = pair.client.begin().unwrap();
    let (sender, _) = pair.link(session, LinkOptions::sender("s", "node"), 5);
    pair.client.send(sender, outgoing(b"t", vec![7_u8; 3_000_000])).unwrap();
    assert_eq!(deliveries(pair.run().1)[0].payload.len(), 3_000_000);
}

#[test]
fn a_message_beyond_the_limit_is_refused_at_both_ends() {
    let server = Config { max_message_size: 1000, ..Config::default() };
    let mut pair = Pair::open_with(Config::default(), server);
    let session = pair.client.begin().unwrap();
    let (sender, _) = pair.link(session, LinkOptions::sender("s", "node"), 5);
    let long = outgoing(b"t", vec![0_u8; 1001]);
    assert_eq!(pair.client.send(sender, long), Err(CommandError::TooLarge));
    // A peer that does not care about the limit is detached.
    let s = pair.client.session_mut(session).unwrap();
    s.link_mut(sender).unwrap().max_message_size = u64::MAX;
    pair.client.send(sender, outgoing(b"t", vec![0_u8; 1001])).unwrap();
    let (at_client, _) = pair.run();
    let Some(Event::Detached(link, Some(error))) = at_client.last() else { panic!("{at_client:?}") };
    assert_eq!((*link, &*error.condition), (sender, "amqp:link:message-size-exceeded"));
}

#[test]
fn unfinished_deliveries_are_bounded_together() {
    let server = Config { max_partial: 1000, ..Config::default() };
    let mut pair = Pair::open_with(Config::default(), server);
    let session = pair.client.begin().unwrap();
    pair.link(session, LinkOptions::sender("s", "node"), 5);
    for id in [Some(0), None] {
        let transfer = Transfer { delivery_id: id, more: true, ..Transfer::default() };
        let frame = Performative::Transfer(Box::new(transfer));
        pair.client.writer.transfer(0, &frame, &[0; 600]);
    }
    let up = pair.client.output().split();
    pair.server.input().unsplit(up);
    assert!(matches!(pair.server.poll(), Err(Violation::Limit(_))));
}

#[test]
fn a_transfer_without_credit_detaches() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    let (sender, _) = pair.link(session, LinkOptions::sender("s", "node"), 0);
    pair.client.session_mut(session).unwrap().link_mut(sender).unwrap().credit = 1;
    pair.client.send(sender, outgoing(b"t", "x")).unwrap();
    let (at_client, at_server) = pair.run();
    assert!(matches!(&at_client[..], [Event::Detached(l, Some(e))]
        if *l == sender && &*e.condition == "amqp:link:transfer-limit-exceeded"));
    assert!(matches!(at_server[..], [Event::Detached(..)]));
}

/// rule AMQP-05
#[test]
fn a_refused_link_is_attached_with_both_ends_named_and_then_detached() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    let ours = pair.client.attach(session, LinkOptions::receiver("r", "nowhere")).unwrap();
    let (_, at_server) = pair.run();
    let Some(Event::AttachRequested(link, _)) = at_server.last() else { panic!("{at_server:?}") };
    pair.server.refuse(*link, AmqpError::new("amqp:not-found", "no such node"));
    let (at_client, _) = pair.run();
    let [Event::Attached(_, attach), Event::Detached(gone, Some(error))] = &at_client[..] else {
        panic!("{at_client:?}")
    };
    assert!(attach.source.is_some() && attach.target.is_some());
    assert_eq!((*gone, &*error.condition), (ours, "amqp:not-found"));
    assert_eq!(pair.client.send(ours, outgoing(b"t", "x")), Err(CommandError::Gone));
}

#[test]
fn a_handle_used_again_is_another_link() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    let (old, _) = pair.link(session, LinkOptions::sender("s", "a"), 1);
    pair.client.detach(old, None);
    pair.run();
    let (new, _) = pair.link(session, LinkOptions::sender("s", "b"), 1);
    assert_eq!(old.handle, new.handle);
    assert_ne!(old, new);
    assert_eq!(pair.client.send(old, outgoing(b"t", "x")), Err(CommandError::Gone));
}

#[test]
fn a_receiver_that_settles_second_is_answered() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    let mut options = LinkOptions::receiver("r", "node");
    options.rcv_settle_mode = ReceiverSettleMode::Second;
    options.credit = 1;
    let (receiver, at) = pair.link(session, options, 0);
    pair.server.send(at, outgoing(b"lock", "x")).unwrap();
    let got = deliveries(pair.run().0);
    let told = Disposition {
        role: Role::Receiver,
        first: got[0].id,
        last: None,
        settled: false,
        state: Some(DeliveryState::Accepted),
        batchable: false,
    };
    // Told twice, heard once.
    for _ in 0..2 {
        let frame = Performative::Disposition(Box::new(told.clone()));
        pair.client.writer.frame(receiver.session.channel, &frame);
    }
    let (_, at_server) = pair.run();
    let [Event::Disposition { id, settled: false, .. }] = at_server[..] else { panic!("{at_server:?}") };
    pair.server.settle_sent(at, id, DeliveryState::Accepted);
    assert!(pair.server.session(at.session).unwrap().unsettled.is_empty());
}

#[test]
fn an_ended_session_takes_its_links_along() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    let (_, at) = pair.link(session, LinkOptions::sender("s", "a"), 1);
    pair.client.end(session, None);
    let (_, at_server) = pair.run();
    assert!(matches!(at_server[..], [Event::Detached(link, None), Event::SessionEnded(..)] if link == at));
    assert!(pair.client.session(session).is_none());
}

/// rule AMQP-17
#[test]
fn farewells_after_the_end_of_a_session_are_ignored() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    pair.link(session, LinkOptions::sender("s", "a"), 1);
    pair.client.end(session, None);
    pair.run();
    pair.client.writer.frame(0, &Performative::Detach(Detach { closed: true, ..Detach::default() }));
    pair.client.writer.frame(0, &Performative::End(None));
    let (_, at_server) = pair.run();
    assert!(at_server.is_empty());
    pair.client.writer.frame(0, &Performative::Transfer(Box::default()));
    let up = pair.client.output().split();
    pair.server.input().unsplit(up);
    assert!(matches!(pair.server.poll(), Err(Violation::State(_))));
}

#[test]
fn drained_credit_is_counted_as_used() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    let mut options = LinkOptions::receiver("r", "node");
    options.credit = 10;
    let (receiver, at) = pair.link(session, options, 0);
    assert_eq!(pair.server.sendable(at), 10);
    let flow = Flow {
        next_incoming_id: Some(0),
        incoming_window: 100,
        handle: Some(receiver.handle),
        delivery_count: Some(0),
        link_credit: Some(10),
        drain: true,
        ..Flow::default()
    };
    pair.client.writer.frame(0, &Performative::Flow(Box::new(flow)));
    pair.run();
    assert_eq!((pair.server.sendable(at), pair.client.credit(receiver)), (0, 0));
}

#[test]
fn heartbeats_are_sent_and_silence_ends_it() {
    let mut pair = Pair::open();
    for _ in 0..20 {
        pair.client.tick().unwrap();
        pair.server.tick().unwrap();
        pair.run();
    }
    let end = (0..20).find_map(|_| pair.server.tick().err());
    assert_eq!(end, Some(Violation::Idle));
    assert!(!pair.server.output().is_empty());
}

/// rule AMQP-21
#[test]
fn a_forced_close_ends_the_sessions_first() {
    let mut pair = Pair::open();
    let session = pair.client.begin().unwrap();
    pair.link(session, LinkOptions::sender("s", "a"), 1);
    pair.server.close(Some(AmqpError::new("amqp:connection:forced", "bye")));
    let (at_client, _) = pair.run();
    let [Event::Detached(..), Event::SessionEnded(ended, Some(why)), Event::Closed(Some(error))] =
        &at_client[..]
    else {
        panic!("{at_client:?}")
    };
    assert_eq!((*ended, &*why.condition), (session, "amqp:link:detach-forced"));
    assert_eq!((&*error.condition, &error.description), ("amqp:connection:forced", &why.description));
}

#[test]
fn close_is_answered() {
    let mut pair = Pair::open();
    pair.server.close(Some(AmqpError::new("amqp:connection:forced", "bye")));
    let (at_client, at_server) = pair.run();
    assert!(matches!(&at_client[..], [Event::Closed(Some(e))] if &*e.condition == "amqp:connection:forced"));
    assert!(matches!(at_server[..], [Event::Closed(None)]));
    assert!(pair.client.is_closed() && pair.server.is_closed());
}

#[test]
fn sessions_and_links_are_bounded() {
    let server = Config { max_sessions: 2, max_links: 2, ..Config::default() };
    let mut pair = Pair::open_with(Config::default(), server);
    let session = pair.client.begin().unwrap();
    pair.client.begin().unwrap();
    assert_eq!(pair.client.begin(), Err(CommandError::Full));
    pair.run();
    pair.client.attach(session, LinkOptions::sender("a", "n")).unwrap();
    pair.client.attach(session, LinkOptions::sender("b", "n")).unwrap();
    assert_eq!(pair.client.attach(session, LinkOptions::sender("c", "n")), Err(CommandError::Full));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_end_in_an_error_or_in_waiting(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut server = Connection::server(Config::default(), MECHANISMS);
        server.input().extend_from_slice(&handshake::AMQP_HEADER);
        server.input().extend_from_slice(&bytes);
        while let Ok(Some(_)) = server.poll() {}
    }

    /// A real conversation with one byte changed, fed in pieces.
    #[test]
    fn a_damaged_conversation_never_panics(
        at in any::<prop::sample::Index>(), to in any::<u8>(), step in 1_usize..50
    ) {
        let mut pair = Pair::open();
        let session = pair.client.begin().unwrap();
        pair.client.attach(session, LinkOptions::sender("s", "n")).unwrap();
        pair.client.attach(session, LinkOptions::receiver("r", "n")).unwrap();
        let flow = Flow { handle: Some(1), link_credit: Some(3), ..Flow::default() };
        pair.client.writer.frame(0, &Performative::Flow(Box::new(flow)));
        let transfer = Transfer { delivery_id: Some(0), ..Transfer::default() };
        pair.client.writer.transfer(0, &Performative::Transfer(Box::new(transfer)), b"payload");
        pair.client.end(session, None);
        let mut bytes = pair.client.output().split().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        for part in bytes.chunks(step) {
            pair.server.input().extend_from_slice(part);
            loop {
                match pair.server.poll() {
                    Ok(Some(Event::AttachRequested(link, _))) => pair.server.accept(link, 10),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            }
        }
    }
}
