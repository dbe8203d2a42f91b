use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions};

use super::*;

struct Fixture {
    broker: Broker,
    stop: CancellationToken,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn broker() -> Fixture {
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let broker = Broker::start(listener, &stop, &TaskTracker::new()).expect("it starts");
    Fixture { broker, stop }
}

impl Fixture {
    fn client(&self, id: &str, clean: bool, will: Option<&str>) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, "127.0.0.1", self.broker.address().port());
        options.set_clean_session(clean);
        if let Some(topic) = will {
            options.set_last_will(rumqttc::LastWill::new(topic, "offline", QoS::AtLeastOnce, true));
        }
        AsyncClient::new(options, 50)
    }
}

/// Polls until the event is the wanted one; what comes in between is dropped.
async fn until<T>(events: &mut EventLoop, wanted: impl Fn(&Incoming) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Event::Incoming(packet) = events.poll().await.expect("the connection lives")
                && let Some(found) = wanted(&packet)
            {
                return found;
            }
        }
    };
    timeout(Duration::from_secs(5), search).await.expect("it comes within five seconds")
}

fn connected(packet: &Incoming) -> Option<bool> {
    if let Incoming::ConnAck(ack) = packet { Some(ack.session_present) } else { None }
}

fn subscribed(packet: &Incoming) -> Option<()> {
    matches!(packet, Incoming::SubAck(_)).then_some(())
}

fn acknowledged(packet: &Incoming) -> Option<()> {
    matches!(packet, Incoming::PubAck(_)).then_some(())
}

fn message(packet: &Incoming) -> Option<(String, String, bool)> {
    let Incoming::Publish(publish) = packet else { return None };
    Some((publish.topic.clone(), String::from_utf8_lossy(&publish.payload).into_owned(), publish.retain))
}

#[tokio::test]
async fn a_retained_message_waits_for_its_subscriber_and_a_live_one_is_not_marked_retained() {
    let fixture = broker().await;
    let (publisher, mut events) = fixture.client("meter", true, None);
    publisher.publish("site/water/w-1/online", QoS::AtLeastOnce, true, "online").await.expect("queued");
    until(&mut events, acknowledged).await;
    let (reader, mut reading) = fixture.client("gateway", true, None);
    reader.subscribe("site/water/+/online", QoS::AtLeastOnce).await.expect("queued");
    let first = until(&mut reading, message).await;
    assert_eq!(first, ("site/water/w-1/online".into(), "online".into(), true));
    publisher.publish("site/water/w-1/online", QoS::AtLeastOnce, true, "again").await.expect("queued");
    until(&mut events, acknowledged).await;
    assert!(!until(&mut reading, message).await.2);
}

#[tokio::test]
async fn the_will_of_a_client_that_vanishes_is_published_and_that_of_one_that_says_goodbye_is_not() {
    let fixture = broker().await;
    let (reader, mut reading) = fixture.client("gateway", true, None);
    reader.subscribe("#", QoS::AtLeastOnce).await.expect("queued");
    until(&mut reading, subscribed).await;
    let (polite, mut farewell) = fixture.client("polite", true, Some("polite/online"));
    until(&mut farewell, connected).await;
    polite.disconnect().await.expect("queued");
    while farewell.poll().await.is_ok() {}
    let (_rude, mut vanishing) = fixture.client("rude", true, Some("rude/online"));
    until(&mut vanishing, connected).await;
    drop(vanishing);
    assert_eq!(until(&mut reading, message).await.0, "rude/online");
    assert_eq!(fixture.broker.truth().retained.len(), 1);
}

#[tokio::test]
async fn a_persistent_session_gets_what_it_missed_and_a_restart_forgets_it() {
    let fixture = broker().await;
    {
        let (reader, mut reading) = fixture.client("gateway", false, None);
        assert!(!until(&mut reading, connected).await);
        reader.subscribe("a/b", QoS::AtLeastOnce).await.expect("queued");
        until(&mut reading, subscribed).await;
    }
    let (publisher, mut events) = fixture.client("meter", true, None);
    for n in 0..3 {
        publisher.publish("a/b", QoS::AtLeastOnce, false, n.to_string()).await.expect("queued");
        until(&mut events, acknowledged).await;
    }
    {
        let (_reader, mut reading) = fixture.client("gateway", false, None);
        assert!(until(&mut reading, connected).await, "the session was kept");
        for n in 0..3 {
            assert_eq!(until(&mut reading, message).await.1, n.to_string());
        }
    }
    fixture.broker.act(BrokerAction::Restart);
    let (_reader, mut reading) = fixture.client("gateway", false, None);
    assert!(!until(&mut reading, connected).await, "a restart has forgotten it");
}

#[tokio::test]
async fn a_frozen_broker_acknowledges_nothing_until_it_thaws() {
    let fixture = broker().await;
    let (publisher, mut events) = fixture.client("meter", true, None);
    until(&mut events, connected).await;
    fixture.broker.act(BrokerAction::Freeze);
    publisher.publish("a", QoS::AtLeastOnce, false, "x").await.expect("queued");
    let early = timeout(Duration::from_millis(300), until(&mut events, acknowledged)).await;
    assert!(early.is_err());
    fixture.broker.act(BrokerAction::Thaw);
    until(&mut events, acknowledged).await;
}

#[tokio::test]
async fn an_oversized_packet_ends_the_connection() {
    let fixture = broker().await;
    let (publisher, mut events) = {
        let mut options = MqttOptions::new("big", "127.0.0.1", fixture.broker.address().port());
        options.set_max_packet_size(PACKET_MAX * 4, PACKET_MAX * 4);
        AsyncClient::new(options, 5)
    };
    until(&mut events, connected).await;
    publisher.publish("a", QoS::AtLeastOnce, false, vec![0u8; PACKET_MAX * 2]).await.expect("queued");
    let end = timeout(Duration::from_secs(5), async { while events.poll().await.is_ok() {} }).await;
    assert!(end.is_ok(), "the broker closes");
    assert_eq!(fixture.broker.truth().published, 0);
}
