//! Who is calling, from the first bytes; a pure function.

use std::sync::Arc;

/// What the first bytes of a connection say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// It is the DTU at this position.
    Known(usize),
    /// Nothing yet; so far it could become somebody.
    More,
    /// It is nobody.
    Unknown,
}

/// Takes heartbeats off the front of `heard`, because a DTU may send one before it says who it is; returns how many
/// those were, and what the rest says. Registrations are matched as beginnings: many modems put more behind them.
pub(super) fn greet<'a>(
    heard: &mut Vec<u8>,
    registrations: impl Iterator<Item = Option<&'a Arc<[u8]>>>,
    heartbeats: &[Arc<[u8]>],
) -> (u64, Greeting) {
    let registrations: Vec<Option<&Arc<[u8]>>> = registrations.collect();
    let mut beats = 0;
    loop {
        if heard.is_empty() {
            return (beats, Greeting::More);
        }
        let known = |r: &Option<&Arc<[u8]>>| r.is_some_and(|r| heard.starts_with(r));
        if let Some(caller) = registrations.iter().position(known) {
            return (beats, Greeting::Known(caller));
        }
        if let Some(beat) = heartbeats.iter().find(|beat| heard.starts_with(beat)) {
            heard.drain(..beat.len());
            beats += 1;
            continue;
        }
        let becomes = |packet: &[u8]| packet.starts_with(heard);
        let more = registrations.iter().flatten().any(|r| becomes(r)) || heartbeats.iter().any(|b| becomes(b));
        return (beats, if more { Greeting::More } else { Greeting::Unknown });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets(texts: &[&str]) -> Vec<Arc<[u8]>> {
        texts.iter().map(|t| Arc::from(t.as_bytes())).collect()
    }

    fn says(text: &str) -> (u64, Greeting) {
        let known = packets(&["860000000000001", "860000000000002"]);
        greet(&mut text.into(), known.iter().map(Some).chain([None]), &packets(&["PING"]))
    }

    #[test]
    fn a_caller_is_known_by_the_bytes_it_begins_with() {
        assert_eq!(says("860000000000002"), (0, Greeting::Known(1)));
        assert_eq!(says("860000000000001\r\nV1.2"), (0, Greeting::Known(0)));
        assert_eq!(says("PINGPING860000000000001"), (2, Greeting::Known(0)));
        for part in ["", "8", "86000000000000", "PI", "PING", "PINGP", "PING86"] {
            assert_eq!(says(part).1, Greeting::More, "{part}");
        }
        for nobody in ["860000000000003", "GET / HTTP/1.1", "PINGx", "x"] {
            assert_eq!(says(nobody).1, Greeting::Unknown, "{nobody}");
        }
    }

    proptest! {
        /// However the bytes are cut, the same caller is found, and no shorter piece is taken for somebody else.
        #[test]
        fn pieces_say_the_same_as_the_whole(beats in 0usize..4, caller in 0usize..2, cuts in prop::collection::vec(1usize..6, 1..40)) {
            let known = packets(&["860000000000001", "860000000000002"]);
            let heartbeats = packets(&["PING"]);
            let mut text = b"PING".repeat(beats);
            text.extend(&*known[caller]);
            let (mut heard, mut from, mut counted) = (Vec::new(), 0, 0);
            for cut in cuts.into_iter().chain(std::iter::repeat(1)) {
                let to = (from + cut).min(text.len());
                heard.extend(&text[from..to]);
                from = to;
                let (beats, greeting) = greet(&mut heard, known.iter().map(Some), &heartbeats);
                counted += beats;
                if from == text.len() {
                    prop_assert_eq!(greeting, Greeting::Known(caller));
                    break;
                }
                prop_assert_eq!(greeting, Greeting::More);
            }
            prop_assert_eq!(counted, beats as u64);
        }
    }
}
